SELECT * FROM skips WHERE view = %(view)s ORDER BY number
