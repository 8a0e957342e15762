SELECT {columns} FROM {table} WHERE {conditions} ORDER BY {key} LIMIT %(limit)s
