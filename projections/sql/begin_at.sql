-- Whatever Kafka still delivers up to there stands at an offset that was passed.
UPDATE positions SET position = %(position)s, "offset" = 4611686018427387904, views = ''
WHERE projection = %(projection)s AND partition = %(partition)s AND position = 0
