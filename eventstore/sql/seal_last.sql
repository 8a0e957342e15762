SELECT after, size, hashes, note FROM seals ORDER BY size DESC LIMIT 1
