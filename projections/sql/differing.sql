SELECT coalesce(live.{key}, beside.{key}) AS key
FROM {live} live FULL JOIN {beside} beside ON live.{key} = beside.{key}
WHERE live IS DISTINCT FROM beside
