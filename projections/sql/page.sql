SELECT {columns} FROM {table} WHERE {conditions} ORDER BY {order} LIMIT %(limit)s
