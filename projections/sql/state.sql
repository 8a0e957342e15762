SELECT partition, position, recorded_at, extract(epoch FROM now() - fresh_at)::float8 AS age,
    EXISTS (SELECT FROM parked) AS parked
FROM positions LEFT JOIN freshness USING (projection, partition)
WHERE projection = %(projection)s ORDER BY partition
