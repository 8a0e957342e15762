SELECT id, owner, fingerprint, answer FROM operations WHERE id = %(id)s
