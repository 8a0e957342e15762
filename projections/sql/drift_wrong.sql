INSERT INTO drift (view, key, columns) SELECT %(view)s, * FROM unnest(%(keys)s::text[], %(columns)s::text[])
ON CONFLICT (view, key) DO UPDATE SET columns = excluded.columns, seen_at = now()
