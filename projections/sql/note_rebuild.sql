-- By whose code the rows are folded now is not known here: the next start looks at them.
WITH swapped AS (UPDATE folds SET code = '' WHERE name = %(name)s)
INSERT INTO rebuilds (name, what, changed, read_to) VALUES (%(name)s, %(what)s, %(changed)s, %(read_to)s)
