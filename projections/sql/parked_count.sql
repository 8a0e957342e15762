SELECT count(*) AS spots FROM parked WHERE view = ANY(%(views)s)
