UPDATE data_keys SET forgotten_at = clock_timestamp(), forgotten_by = %(by)s, why = %(why)s
WHERE subject = %(subject)s AND forgotten_at IS NULL RETURNING id
