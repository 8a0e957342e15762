SELECT {columns} FROM {table} WHERE {key} = ANY(%(keys)s)
