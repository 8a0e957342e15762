"""TLS of our servers and of our calls to each other."""

import ssl

from infra.settings import Settings

TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server(settings: Settings, clients: ssl.VerifyMode) -> ssl.SSLContext:
    """How a server of ours speaks: TLS 1.3 where clients are our own, 1.2 or later where anybody may ask."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside = clients == ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if inside else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(TLS12_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(settings.cert_file, settings.key_file)
    context.load_verify_locations(settings.ca_file)
    context.verify_mode = clients
    return context


def client(settings: Settings, *, identified: bool = True) -> ssl.SSLContext:
    """How we call a server: it must be of our authority; we show our own certificate if `identified`."""
    context = ssl.create_default_context(cafile=str(settings.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if identified:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context
