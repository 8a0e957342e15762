SELECT extend_log(current_schema(), %s)
