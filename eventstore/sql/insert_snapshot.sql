INSERT INTO {snapshots} (stream, version, type, data) VALUES (%s, %s, %s, %s)
