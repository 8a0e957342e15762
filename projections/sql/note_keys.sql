INSERT INTO republish (name, key) SELECT %(name)s, unnest(%(keys)s::text[])
