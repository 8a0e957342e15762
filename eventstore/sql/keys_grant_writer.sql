-- Who seals may make keys; only the owner may forget and destroy.
GRANT USAGE ON SCHEMA {schema} TO {role};
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};
GRANT INSERT (id, subject, wrapped_by, wrapped) ON data_keys TO {role};
