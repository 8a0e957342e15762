SELECT view, count(*) AS rows FROM drift GROUP BY view
