UPDATE positions SET position = move.new, "offset" = move."offset", recorded_at = move.recorded_at, moved_at = now()
FROM unnest(
    %(partitions)s::integer[], %(olds)s::bigint[], %(news)s::bigint[], %(offsets)s::bigint[], %(moments)s::timestamptz[]
) AS move (partition, old, new, "offset", recorded_at)
WHERE projection = %(projection)s AND views = %(views)s
    AND positions.partition = move.partition AND position = move.old
RETURNING positions.partition
