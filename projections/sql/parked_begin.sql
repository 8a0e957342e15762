INSERT INTO parked (view, name, of_stream, position, stream, version, type, error, attempts)
SELECT %(view)s, * FROM unnest(%(name)s::text[], %(of_stream)s::boolean[], %(position)s::bigint[], %(stream)s::text[],
    %(version)s::bigint[], %(type)s::text[], %(error)s::text[], %(attempts)s::integer[])
ON CONFLICT DO NOTHING
