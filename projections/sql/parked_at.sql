SELECT min(position) AS position FROM parked_events
WHERE view = %(view)s AND ((name = %(key)s AND NOT of_stream) OR (name = %(stream)s AND of_stream))
