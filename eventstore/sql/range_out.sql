COPY (SELECT position, version, time, recorded_at, id, stream, type, data, metadata FROM {table} ORDER BY position)
  TO STDOUT (FORMAT binary)
