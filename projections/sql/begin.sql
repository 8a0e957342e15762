INSERT INTO positions (projection, partition) SELECT %(projection)s, generate_series(0, %(partitions)s - 1) ON CONFLICT DO NOTHING
