WITH gone AS (
    DELETE FROM idempotency
     WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM idempotency
            WHERE recorded_at <= clock_timestamp() - %(older_than)s::interval
            LIMIT %(limit)s))
    RETURNING 1
)
SELECT count(*) FROM gone
