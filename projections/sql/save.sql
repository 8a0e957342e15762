INSERT INTO {table} ({columns}) SELECT * FROM unnest({arrays})
ON CONFLICT ({key}) DO UPDATE SET {changes}
