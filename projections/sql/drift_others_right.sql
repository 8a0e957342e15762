DELETE FROM drift WHERE view = %(view)s AND key <> ALL(%(wrong)s) AND seen_at < %(at)s
