INSERT INTO migrations (number, name, digest) VALUES (%(number)s, %(name)s, %(digest)s)
