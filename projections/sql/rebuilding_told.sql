UPDATE rebuilding SET done = %(done)s, total = %(total)s, told_at = now(), error = %(error)s WHERE name = %(name)s
