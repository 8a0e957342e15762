SELECT fingerprint, stream, version, position, refusal FROM idempotency WHERE key = %(key)s
