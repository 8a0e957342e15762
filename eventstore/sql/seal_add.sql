WITH nodes AS (
    INSERT INTO seal_nodes (level, number, hash)
    SELECT n.level, n.number, n.hash
      FROM unnest(%(levels)s::smallint[], %(numbers)s::bigint[], %(nodes)s::bytea[]) AS n (level, number, hash)
)
INSERT INTO seals (after, size, hashes, note) VALUES (%(after)s, %(size)s, %(hashes)s, %(note)s)
