SELECT id, subject, wrapped_by, wrapped, forgotten_at IS NOT NULL FROM data_keys WHERE id = ANY(%(ids)s)
