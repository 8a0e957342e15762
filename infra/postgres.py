"""How our processes connect to PostgreSQL: TLS with a verified server, our certificate and SCRAM, always."""

from psycopg.conninfo import make_conninfo

from infra.settings import Settings


def conninfo(settings: Settings, database: str) -> str:
    """The connection string of this process's principal for a database.

    The password travels by `passfile`-free means: psycopg takes it from the string in memory, never from arguments.
    """
    settings.need("postgres_host")
    return make_conninfo(
        "",
        host=settings.postgres_host,
        port=settings.postgres_port,
        dbname=database,
        user=settings.principal,
        password=settings.password,
        application_name=settings.principal,
        sslmode="verify-full",
        sslrootcert=str(settings.ca_file),
        sslcert=str(settings.cert_file),
        sslkey=str(settings.key_file),
        ssl_min_protocol_version="TLSv1.3",
        connect_timeout=5,
        options="-c timezone=UTC",
    )
