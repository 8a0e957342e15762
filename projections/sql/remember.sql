INSERT INTO tables (name, columns) VALUES (%(name)s, %(columns)s)
