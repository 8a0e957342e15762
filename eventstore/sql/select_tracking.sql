SELECT position FROM {tracking} WHERE application = %(application)s
