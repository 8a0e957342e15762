-- In each stream the hash of the event before that version; streams that begin there are left out.
SELECT w.stream, substring(s.hashes FROM (32 * (p.position - s.after - 1) + 1)::integer FOR 32)
  FROM unnest(%(streams)s::text[], %(versions)s::bigint[]) AS w (stream, version)
 CROSS JOIN LATERAL (SELECT max(f.position) AS position
                       FROM ((SELECT e.position FROM events e WHERE e.stream = w.stream AND e.version < w.version
                               ORDER BY e.version DESC LIMIT 1)
                             UNION ALL
                             (SELECT d.position FROM detached d WHERE d.stream = w.stream AND d.version < w.version
                               ORDER BY d.version DESC LIMIT 1)) f) p
 CROSS JOIN LATERAL (SELECT s.after, s.hashes FROM seals s WHERE s.size >= p.position ORDER BY s.size LIMIT 1) s
