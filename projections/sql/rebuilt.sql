SELECT DISTINCT ON (name) name, what, changed, swapped_at FROM rebuilds ORDER BY name, id DESC
