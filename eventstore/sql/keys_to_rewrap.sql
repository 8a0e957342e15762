SELECT id, subject, wrapped_by, wrapped FROM data_keys WHERE wrapped_by <> %(wrapped_by)s LIMIT %(limit)s
