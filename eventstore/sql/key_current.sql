SELECT id, subject, wrapped_by, wrapped, false FROM data_keys WHERE subject = %(subject)s AND forgotten_at IS NULL
