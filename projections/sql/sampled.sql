SELECT {columns} FROM {table} ORDER BY hashtextextended({key}, 0), {key} LIMIT %(limit)s
