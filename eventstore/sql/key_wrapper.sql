SELECT id FROM wrapping_keys ORDER BY made_at DESC LIMIT 1
