SELECT level, number, hash FROM seal_nodes ORDER BY level, number
