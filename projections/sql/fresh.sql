INSERT INTO freshness (projection, partition, fresh_at) SELECT %(projection)s, unnest(%(partitions)s::integer[]), now()
WHERE %(head)s::bigint <= (SELECT coalesce(max(position), 0) FROM positions WHERE projection = %(projection)s)
ON CONFLICT (projection, partition) DO UPDATE SET fresh_at = excluded.fresh_at
