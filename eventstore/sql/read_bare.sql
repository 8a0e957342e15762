SELECT position, stream, version, type, time, data
  FROM events
 WHERE position > %(after)s
   AND (SELECT refuse_detached(r.last) FROM ranges r WHERE r.file IS NOT NULL AND r.last > %(after)s LIMIT 1) IS NULL
 ORDER BY position
 LIMIT %(limit)s
