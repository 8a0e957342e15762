-- Each right that a role has on a table of the schema.
SELECT c.relname || ' ' || p.privilege
  FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS p (privilege)
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND has_table_privilege(%(role)s, c.oid, p.privilege)
