INSERT INTO parked_events (view, name, of_stream, position, stream, event)
SELECT %(view)s, * FROM unnest(
    %(name)s::text[], %(of_stream)s::boolean[], %(position)s::bigint[], %(stream)s::text[], %(event)s::bytea[]
)
ON CONFLICT DO NOTHING
