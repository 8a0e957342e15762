DELETE FROM drift d
 WHERE view = %(view)s AND key <> ALL(%(wrong)s) AND seen_at < %(at)s
   AND NOT EXISTS (SELECT FROM parked p WHERE p.view = d.view AND p.name = d.key AND NOT p.of_stream)
