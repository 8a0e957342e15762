UPDATE positions SET projection = %(new)s, views = %(new)s WHERE projection = %(old)s
