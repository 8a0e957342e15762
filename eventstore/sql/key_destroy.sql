UPDATE data_keys SET wrapped = NULL, wrapped_by = NULL, destroyed_at = clock_timestamp(), searched = %(searched)s
WHERE subject = %(subject)s AND forgotten_at IS NOT NULL AND destroyed_at IS NULL RETURNING id
