INSERT INTO folds (name, code) VALUES (%(name)s, %(code)s) ON CONFLICT (name) DO UPDATE SET code = excluded.code
