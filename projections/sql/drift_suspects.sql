SELECT key FROM drift d
 WHERE view = %(view)s AND NOT EXISTS (SELECT FROM parked p WHERE p.view = d.view AND p.name = d.key AND NOT p.of_stream)
 ORDER BY seen_at LIMIT %(limit)s
