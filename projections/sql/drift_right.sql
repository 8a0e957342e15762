DELETE FROM drift WHERE view = %(view)s AND key = ANY(%(right)s) AND seen_at < %(at)s
