SELECT count(*) AS rows FROM drift WHERE view = %(view)s
