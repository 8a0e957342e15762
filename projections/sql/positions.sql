SELECT partition, position, "offset", touched FROM positions WHERE projection = %(projection)s
