DELETE FROM positions WHERE projection = %(projection)s
