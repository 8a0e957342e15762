SELECT count(*) AS lanes FROM parked WHERE view = ANY(%(views)s)
