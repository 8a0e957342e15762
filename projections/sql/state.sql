SELECT partition, position, recorded_at, extract(epoch FROM now() - fresh_at)::float8 AS age
FROM positions LEFT JOIN freshness USING (projection, partition)
WHERE projection = %(projection)s ORDER BY partition
