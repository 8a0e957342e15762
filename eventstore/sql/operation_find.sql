SELECT id, owner, fingerprint, answer, outside, keys FROM operations WHERE id = %(id)s
