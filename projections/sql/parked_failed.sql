UPDATE parked SET position = %(position)s, stream = %(stream)s, version = %(version)s, type = %(type)s, error = %(error)s,
    attempts = attempts + 1
WHERE view = %(view)s AND name = %(name)s AND of_stream = %(of_stream)s
