INSERT INTO positions (projection, partition, position, "offset", recorded_at, views)
SELECT %(projection)s, unnest(%(partitions)s::integer[]), unnest(%(positions)s::bigint[]), -1, now(), %(projection)s
