INSERT INTO republish (name, key) SELECT %(name)s, {key} FROM {table}
