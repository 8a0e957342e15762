DELETE FROM operations WHERE accepted_at <= clock_timestamp() - %(older_than)s::interval
