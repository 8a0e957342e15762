"""Evidence that the log was not changed: what is hashed, sealed, signed, and kept outside the database.

Each event has a hash that covers it and the hash of the event before it in its stream (`chain`). These hashes are the
leaves of one Merkle tree over all positions (`merkle`, RFC 9162). A sealer follows the log after the commit; each of
its seals is one row: the hashes of a run of positions, and a signed checkpoint of the tree so far (`sealer`,
`checkpoint`). Checkpoints go to witnesses outside the database: a file and a topic (`witness`).

Assumed is an attacker who is superuser of the database: he changes any table, drops constraints and triggers, and
hashes anew what he changed. He does not hold the key that signs, nor can he change what the witnesses hold. Then

- what a checkpoint covers that a witness holds can't be changed, removed, reordered or cut unseen;
- what is sealed and not yet witnessed (for `Pace.publish_seconds` at most) can't be changed unseen, since no seal
  can be signed anew; it can be cut off together with its seals;
- what is committed and not yet sealed (for `Pace.gather_seconds` and the time of a page) is not protected;
- an event that is appended is sealed, whoever appended it: who may append is not what the evidence says.

Somebody who holds the key can sign another history, which the witnesses' older checkpoints contradict.
"""
