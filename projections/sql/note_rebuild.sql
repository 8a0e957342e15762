INSERT INTO rebuilds (name, what, changed, read_to) VALUES (%(name)s, %(what)s, %(changed)s, %(read_to)s)
