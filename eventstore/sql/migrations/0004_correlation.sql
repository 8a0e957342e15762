-- Finds what belongs together. A bloom filter for each range of the log costs an append next to nothing, where a tree
-- over random ids would cost it a page; a search reads the ranges that may hold the id.
CREATE FUNCTION correlation_id(metadata bytea) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN convert_from(metadata, 'UTF8')::jsonb ->> 'correlation_id';

CREATE INDEX events_correlation ON events USING brin (correlation_id(metadata) text_bloom_ops)
  WITH (pages_per_range = 32, autosummarize = on);
