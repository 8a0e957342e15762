INSERT INTO parked_events (view, name, of_stream, position, event)
SELECT %(view)s, * FROM unnest(%(name)s::text[], %(of_stream)s::boolean[], %(position)s::bigint[], %(event)s::bytea[])
ON CONFLICT DO NOTHING
