COPY {table} (position, version, time, recorded_at, id, stream, type, data, metadata) FROM STDIN (FORMAT binary)
