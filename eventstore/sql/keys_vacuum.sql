VACUUM FULL data_keys
