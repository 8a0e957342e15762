SELECT event FROM parked_events WHERE view = %(view)s AND name = %(name)s AND of_stream = %(of_stream)s ORDER BY position
LIMIT %(most)s
