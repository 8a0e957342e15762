SELECT id, forgotten_at, forgotten_by, why, destroyed_at, searched FROM data_keys
WHERE subject = %(subject)s AND forgotten_at IS NOT NULL ORDER BY forgotten_at, id
