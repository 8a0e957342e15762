-- What appends of one event each leave behind, ten to a stream, after a position that the log has room for.
WITH events AS (
    INSERT INTO events (position, version, time, recorded_at, id, stream, type, data, metadata)
    SELECT n, mod(n - 1, 10) + 1, now(), now(), gen_random_uuid(), 'grown-' || md5(((n - 1) / 10)::text), 'bench.Happened.v1', %(data)s, '{}'
      FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
), streams AS (
    INSERT INTO streams (stream, version, position)
    SELECT 'grown-' || md5(((n - 1) / 10)::text), 10, n FROM generate_series(%(first)s::bigint, %(last)s::bigint) n WHERE mod(n, 10) = 0
)
INSERT INTO idempotency (key, fingerprint, stream, version, position, recorded_at)
SELECT gen_random_uuid()::text, '\x00', 'grown-' || md5(((n - 1) / 10)::text), mod(n - 1, 10) + 1, n, now()
  FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
