-- Each table of the schema: its bytes without indexes, and those of its indexes by name.
SELECT c.relname, pg_table_size(c.oid),
       coalesce((SELECT jsonb_object_agg(i.indexrelid::regclass::text, pg_relation_size(i.indexrelid))
                   FROM pg_index i WHERE i.indrelid = c.oid), '{}')
  FROM pg_class c
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
 ORDER BY pg_total_relation_size(c.oid) DESC, c.relname
