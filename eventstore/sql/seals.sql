SELECT after, size, hashes, note FROM seals WHERE size > %(after)s ORDER BY size LIMIT %(limit)s
