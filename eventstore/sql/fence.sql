SELECT pg_terminate_backend(pid, %(milliseconds)s)
  FROM pg_stat_activity
 WHERE pid = %(pid)s AND backend_start = %(started)s AND usename = current_user
