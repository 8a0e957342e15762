SELECT key FROM drift WHERE view = %(view)s ORDER BY seen_at LIMIT %(limit)s
