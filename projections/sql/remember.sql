INSERT INTO tables (name, columns) VALUES (%(name)s, %(columns)s) ON CONFLICT (name) DO UPDATE SET columns = excluded.columns
