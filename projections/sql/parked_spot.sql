SELECT * FROM parked WHERE view = %(view)s AND name = %(name)s AND of_stream = %(of_stream)s FOR UPDATE
