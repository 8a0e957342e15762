-- One leader in each role for each store of the database.
SELECT pg_try_advisory_lock(hashtext(%(role)s), hashtext(current_schema()))
