SELECT view, count(*) AS keys, (array_agg(type || ': ' || error ORDER BY first_at DESC) FILTER (WHERE error IS NOT NULL))[1] AS error
FROM parked WHERE position IS NOT NULL GROUP BY view
