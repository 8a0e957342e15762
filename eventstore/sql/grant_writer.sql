-- What the writing process may do: add events and move the heads; never change or remove an event.
GRANT USAGE ON SCHEMA {schema} TO {role};
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};
GRANT INSERT ON events, idempotency, streams, tracking, snapshots, seals, seal_nodes, operations TO {role};
GRANT UPDATE ON head, streams, tracking, snapshots, operations TO {role};
GRANT DELETE ON snapshots, idempotency, operations TO {role};
GRANT EXECUTE ON FUNCTION append_batch, append_expected TO {role};
