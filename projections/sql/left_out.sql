SELECT position FROM skips WHERE view = %(view)s
UNION
SELECT position FROM parked_events WHERE view = %(view)s
