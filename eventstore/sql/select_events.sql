SELECT stream, version, type, data
  FROM {table}
 WHERE stream = %(stream)s AND version > %(after)s AND version <= %(until)s
 ORDER BY version {order}
 LIMIT %(limit)s
