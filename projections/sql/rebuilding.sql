SELECT name, done, total, error, extract(epoch FROM now() - began_at)::float8 AS seconds,
    extract(epoch FROM now() - told_at)::float8 AS silent
FROM rebuilding
