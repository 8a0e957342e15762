"""Texts about persons: sealed before they are recorded, and forgotten by destroying a key.

Each subject (a person, by the name that the domain has for him) has a data key. A text is sealed under it for one
place: stream, version and field (`sealing`). Data keys lie in a database of their own, wrapped by a key-encryption key
that lies in a file outside of it (`keyring`, `keys`, `postgres`). To forget a subject is to destroy his data keys and
the key that wrapped them (`forget`): what was sealed stays where it is, in logs, topics, views and backups, and nobody
can open it again. What remains of a destroyed key is a tombstone: who was forgotten, when, by whom and why.

A subject's name is no secret: it stays in the log. A domain takes a number for it, not an address.
"""
