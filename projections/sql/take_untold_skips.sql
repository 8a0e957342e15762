WITH taken AS (
    DELETE FROM untold_skips WHERE number IN (
        SELECT number FROM untold_skips ORDER BY number LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) RETURNING number
)
SELECT skips.* FROM skips JOIN taken USING (number) ORDER BY number
