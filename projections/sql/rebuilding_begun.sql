INSERT INTO rebuilding (name) VALUES (%(name)s)
ON CONFLICT (name) DO UPDATE SET done = 0, total = 0, began_at = now(), told_at = now(), error = NULL
