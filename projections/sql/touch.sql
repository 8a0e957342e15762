UPDATE positions SET touched = touched + 1 WHERE projection = %(projection)s AND partition = 0
