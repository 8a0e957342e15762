SELECT hash FROM seal_nodes WHERE level = %(level)s AND number >= %(first)s AND number < %(end)s ORDER BY number
