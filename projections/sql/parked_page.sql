SELECT *, (SELECT count(*) FROM parked_events AS e
           WHERE e.view = p.view AND e.name = p.name AND e.of_stream = p.of_stream) AS events
FROM parked AS p WHERE view = %(view)s ORDER BY first_at DESC, name, of_stream LIMIT %(limit)s
