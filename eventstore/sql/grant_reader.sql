-- What people and other readers may do: look.
GRANT USAGE ON SCHEMA {schema} TO {role};
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};
