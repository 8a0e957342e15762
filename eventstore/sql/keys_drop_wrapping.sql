DELETE FROM wrapping_keys WHERE id <> %(id)s
