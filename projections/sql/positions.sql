SELECT partition, position, "offset",
       coalesce((SELECT touched FROM touches WHERE projection = %(projection)s), 0) AS touched
FROM positions WHERE projection = %(projection)s
