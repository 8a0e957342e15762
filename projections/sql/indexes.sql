SELECT count(*) AS whole FROM pg_index WHERE indrelid = to_regclass(quote_ident(%(name)s)) AND indisvalid AND indisready
