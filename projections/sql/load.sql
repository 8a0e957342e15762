SELECT {columns} FROM {table} WHERE {key} = ANY(%(keys)s) ORDER BY {key} FOR UPDATE
