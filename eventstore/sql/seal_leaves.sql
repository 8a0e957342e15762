-- The hashes of the events with first <= position - 1 < end.
SELECT substring(hashes FROM (32 * greatest(%(first)s - after, 0) + 1)::integer
                        FOR (32 * (least(%(end)s, size) - greatest(%(first)s, after)))::integer)
  FROM seals
 WHERE size > %(first)s AND after < %(end)s
 ORDER BY after
