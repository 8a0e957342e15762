DELETE FROM detached WHERE position BETWEEN %s AND %s
