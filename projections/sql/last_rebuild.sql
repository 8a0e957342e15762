SELECT what, read_to, swapped_at FROM rebuilds WHERE name = %(name)s ORDER BY id DESC LIMIT 1
