INSERT INTO wrapping_keys (id) VALUES (%(id)s)
