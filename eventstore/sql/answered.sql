SELECT fingerprint, stream, version, position FROM idempotency WHERE key = %(key)s
