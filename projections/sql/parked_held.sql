SELECT name, of_stream FROM parked
WHERE view = %(view)s AND ((name = ANY(%(keys)s) AND NOT of_stream) OR (name = ANY(%(streams)s) AND of_stream))
ORDER BY name, of_stream FOR SHARE
