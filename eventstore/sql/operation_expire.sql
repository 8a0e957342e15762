WITH gone AS (
    DELETE FROM operations
     WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM operations
            WHERE accepted_at <= clock_timestamp() - %(older_than)s::interval
            LIMIT %(limit)s))
    RETURNING 1
)
SELECT count(*) FROM gone
