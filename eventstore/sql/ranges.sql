SELECT first, last, file, digest FROM ranges ORDER BY first
