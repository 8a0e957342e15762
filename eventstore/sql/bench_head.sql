-- Apart from the events, as in an append: the log may extend itself at this moment, which it can't while they are written.
UPDATE head SET position = %(last)s, recorded_at = now()
