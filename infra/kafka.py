"""How our processes connect to Kafka: TLS and SCRAM-SHA-512, always."""

import ssl
from typing import Any

from infra.settings import Settings

MECHANISM = "SCRAM-SHA-512"
PROTOCOL = "SASL_SSL"


def tls(settings: Settings) -> ssl.SSLContext:
    """A client context that trusts our authority only."""
    context = ssl.create_default_context(cafile=str(settings.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def librdkafka(settings: Settings, **more: Any) -> dict[str, Any]:
    """The configuration of a confluent-kafka client."""
    settings.need("kafka_bootstrap")
    return {
        "bootstrap.servers": settings.kafka_bootstrap,
        "client.id": settings.principal,
        "security.protocol": PROTOCOL,
        "sasl.mechanism": MECHANISM,
        "sasl.username": settings.principal,
        "sasl.password": settings.password,
        "ssl.ca.location": str(settings.ca_file),
        **more,
    }


def aiokafka(settings: Settings, **more: Any) -> dict[str, Any]:
    """The arguments of an aiokafka client."""
    settings.need("kafka_bootstrap")
    return {
        "bootstrap_servers": settings.kafka_bootstrap,
        "client_id": settings.principal,
        "security_protocol": PROTOCOL,
        "sasl_mechanism": MECHANISM,
        "sasl_plain_username": settings.principal,
        "sasl_plain_password": settings.password,
        "ssl_context": tls(settings),
        **more,
    }
