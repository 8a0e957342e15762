-- The roles that may connect to a database.
SELECT role.rolname
FROM pg_database AS database, aclexplode(database.datacl) AS right_, pg_roles AS role
WHERE database.datname = %s AND role.oid = right_.grantee AND right_.privilege_type = 'CONNECT'
