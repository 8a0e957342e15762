SELECT id FROM wrapping_keys
