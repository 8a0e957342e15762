DELETE FROM parked WHERE view = %(view)s
