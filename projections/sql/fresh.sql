INSERT INTO freshness (projection, partition, fresh_at) SELECT %(projection)s, unnest(%(partitions)s::integer[]), now()
ON CONFLICT (projection, partition) DO UPDATE SET fresh_at = excluded.fresh_at
