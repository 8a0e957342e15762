-- One leader for each store of the database.
SELECT pg_try_advisory_lock(hashtext('headrace relay'), hashtext(current_schema()))
