SELECT position, coalesce(stream, convert_from(event, 'UTF8')::json ->> 'subject') AS stream
FROM skips WHERE view = %(view)s
