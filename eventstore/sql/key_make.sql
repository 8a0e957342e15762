INSERT INTO data_keys (id, subject, wrapped_by, wrapped) VALUES (%(id)s, %(subject)s, %(wrapped_by)s, %(wrapped)s)
ON CONFLICT (subject) WHERE forgotten_at IS NULL DO NOTHING RETURNING id
