UPDATE positions SET position = %(new)s, "offset" = %(offset)s, recorded_at = %(recorded_at)s, moved_at = now()
WHERE projection = %(projection)s AND partition = %(partition)s AND position = %(old)s AND views = %(views)s
