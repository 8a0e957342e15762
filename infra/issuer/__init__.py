"""The development issuer of access tokens: OpenID discovery, keys, and client credentials. Never for production."""
