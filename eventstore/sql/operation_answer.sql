UPDATE operations SET answer = %(answer)s WHERE id = %(id)s AND answer IS NULL
