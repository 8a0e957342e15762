"""The development issuer of access tokens: OpenID discovery, keys, client credentials, and logins of people.

Never for production.
"""
