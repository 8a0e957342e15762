WITH made AS (
    INSERT INTO skips (view, name, of_stream, position, stream, event, error, who, why, at)
    VALUES (%(view)s, %(name)s, %(of_stream)s, %(position)s, %(stream)s, %(event)s,
            %(error)s, %(who)s, %(why)s, %(at)s)
    RETURNING number
)
INSERT INTO untold_skips SELECT number FROM made
