"""The web console: where people watch projections and look after them.

It reads with rights of its own, and changes nothing: who acts does so through the services, with his own token.
"""
