SELECT code FROM folds WHERE name = %(name)s
