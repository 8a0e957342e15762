-- What a process may do that folds events elsewhere: read them, and nothing else of the store.
GRANT USAGE ON SCHEMA {schema} TO {role};
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role};
GRANT SELECT ON events, head, ranges, detached TO {role};
