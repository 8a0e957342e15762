INSERT INTO streams (stream, version, position)
SELECT DISTINCT ON (stream) stream, version, position FROM events ORDER BY stream, version DESC
