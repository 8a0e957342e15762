SELECT {columns} FROM {table} TABLESAMPLE SYSTEM (%(share)s::real) REPEATABLE (0)
ORDER BY hashtextextended({key}, 0), {key} LIMIT %(limit)s
