ALTER TABLE events ATTACH PARTITION {table} FOR VALUES FROM ({first}) TO ({end})
