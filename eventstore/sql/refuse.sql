-- Under the lock of the head, as an append looks for a key before it records it.
WITH locked AS (SELECT 1 FROM head FOR UPDATE)
INSERT INTO idempotency (key, fingerprint, stream, version, position, recorded_at, refusal)
SELECT r.key, r.fingerprint, r.stream, 0, 0, clock_timestamp(), r.refusal
  FROM locked,
       unnest(%(keys)s::text[], %(fingerprints)s::bytea[], %(streams)s::text[], %(refusals)s::bytea[])
       AS r (key, fingerprint, stream, refusal)
    ON CONFLICT (key) DO NOTHING
RETURNING key
