SELECT id, subject, wrapped_by, wrapped, true FROM data_keys
WHERE subject = %(subject)s AND forgotten_at IS NOT NULL AND destroyed_at IS NULL
