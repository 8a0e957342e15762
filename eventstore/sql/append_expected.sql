SELECT append_expected(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
