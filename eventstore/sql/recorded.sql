SELECT version, position FROM events WHERE stream = %(stream)s AND id = %(id)s ORDER BY version DESC LIMIT 1
