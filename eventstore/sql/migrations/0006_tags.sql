-- What an event is about besides its stream, so that a decision can rest on events of several streams.
CREATE FUNCTION tags(metadata bytea) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN string_to_array(convert_from(metadata, 'UTF8')::jsonb ->> 'tags', ' ');

-- An event without tags is not in the index, and costs it nothing.
CREATE INDEX events_tags ON events USING gin (tags(metadata)) WHERE position('"tags"'::bytea IN metadata) > 0;
