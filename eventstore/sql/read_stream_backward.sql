SELECT position, stream, version, id, type, time, recorded_at, data, metadata
  FROM events
 WHERE stream = %(stream)s AND version > %(after)s AND version <= %(until)s AND recorded_at <= %(recorded_until)s
   AND (SELECT refuse_detached(d.position) FROM detached d
         WHERE d.stream = %(stream)s AND d.version > %(after)s LIMIT 1) IS NULL
 ORDER BY version DESC
 LIMIT %(limit)s
