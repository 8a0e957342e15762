UPDATE positions SET views = %(views)s WHERE projection = %(projection)s
