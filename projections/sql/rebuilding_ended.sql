DELETE FROM rebuilding WHERE name = %(name)s
