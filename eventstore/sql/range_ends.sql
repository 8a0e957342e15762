INSERT INTO detached (stream, version, position)
SELECT DISTINCT ON (stream) stream, version, position FROM {table} ORDER BY stream, version DESC
