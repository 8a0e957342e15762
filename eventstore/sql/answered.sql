SELECT fingerprint, stream, version, greatest(position, 0), refusal FROM idempotency WHERE key = %(key)s
