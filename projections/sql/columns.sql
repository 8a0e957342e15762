SELECT columns FROM tables WHERE name = %(name)s
