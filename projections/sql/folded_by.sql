SELECT code, xmin::text AS written FROM folds WHERE name = %(name)s
