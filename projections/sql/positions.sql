SELECT partition, position, "offset" FROM positions WHERE projection = %(projection)s
