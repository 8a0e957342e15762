SELECT partition, position FROM positions WHERE projection = %(projection)s
