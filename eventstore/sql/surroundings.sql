SELECT name, setting FROM pg_settings WHERE name = ANY(%(names)s)
UNION ALL
SELECT 'tls', version FROM pg_stat_ssl WHERE pid = pg_backend_pid()
