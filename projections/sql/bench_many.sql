SELECT counter, count, total, place, changed_at FROM counters_v1 ORDER BY counter LIMIT %s
