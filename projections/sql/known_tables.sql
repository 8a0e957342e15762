SELECT name FROM tables WHERE to_regclass(quote_ident(name)) IS NOT NULL
