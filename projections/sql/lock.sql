SELECT pg_advisory_xact_lock(hashtextextended(%(table)s, 0))
