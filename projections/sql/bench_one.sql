SELECT counter, count, total, place, changed_at FROM counters_v1 WHERE counter = %s
