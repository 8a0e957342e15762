SELECT views FROM positions WHERE projection = %(projection)s ORDER BY partition LIMIT 1
