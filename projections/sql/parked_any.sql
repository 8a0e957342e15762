SELECT EXISTS (SELECT FROM parked WHERE view = %(view)s) AS parked
