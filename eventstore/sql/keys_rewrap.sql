UPDATE data_keys SET wrapped = %(wrapped)s, wrapped_by = %(wrapped_by)s WHERE id = %(id)s AND destroyed_at IS NULL
