SELECT stream, position
  FROM detached
 WHERE position > %(after)s
 ORDER BY position
 LIMIT %(limit)s
