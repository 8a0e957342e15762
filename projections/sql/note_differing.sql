INSERT INTO republish (name, key) SELECT %(name)s, key FROM unnest(%(keys)s::text[]) AS given (key)
WHERE (SELECT live FROM {live} live WHERE live.{key} = given.key)
      IS DISTINCT FROM (SELECT beside FROM {beside} beside WHERE beside.{key} = given.key)
