UPDATE ranges SET file = %s, digest = %s WHERE first = %s
