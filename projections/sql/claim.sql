SELECT pg_try_advisory_lock(hashtextextended(%(name)s, 1)) AS claimed
