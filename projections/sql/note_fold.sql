-- A swap meanwhile has written another '' there: what was found then is of rows that are no longer live.
INSERT INTO folds (name, code) VALUES (%(name)s, %(code)s)
ON CONFLICT (name) DO UPDATE SET code = excluded.code WHERE folds.xmin::text = %(written)s
