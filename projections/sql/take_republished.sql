DELETE FROM republish WHERE id IN (
    SELECT id FROM republish WHERE name = %(name)s ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) RETURNING key
