"""The settings of one process: environment variables `HEADRACE_*`, and secrets as files."""

import os
import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    DirectoryPath,
    Field,
    IPvAnyNetwork,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as Unparsable

from infra.errors import SettingsError

PREFIX = "HEADRACE_"
HTTPS = re.compile(r"https://[^/?#@\s]+(/[^?#\s]*)?")


def https(address: str) -> str:
    if HTTPS.fullmatch(address) is None:
        raise ValueError(f"must be an https address, not {address!r}")
    return address


Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Https = Annotated[str, AfterValidator(https)]


def quota(text: object) -> object:
    """`"600/60"`: 600 requests in any 60 seconds."""
    return text.split("/") if isinstance(text, str) else text


Quota = Annotated[
    tuple[Annotated[int, Field(ge=1, le=10**9)], Annotated[int, Field(ge=1, le=86_400)]], BeforeValidator(quota)
]
Places = Annotated[tuple[Https, ...], BeforeValidator(lambda one: (one,) if isinstance(one, str) else one)]


class Settings(BaseSettings):
    """What a process is told.

    Idempotency keys are kept for `idempotency_hours` at least. A snapshot of an aggregate is kept after
    `snapshot_every` events, and `hot_aggregates` stay in memory; 0 is never.

    A worker holds rows against the store all the time, for which it folds `verify_rate` events a second; 0 is never.

    `services` says for each domain and side where it answers: an address, or a list of them.

    `quotas` says how many requests of each kind one client may make: `{"command": "600/60"}` is 600 in any 60 seconds.
    `peers` are the health addresses of all gateway processes, which count together; `proxies` are networks whose
    `X-Forwarded-For` is believed; `origins` are the web origins whose pages may ask (CORS).

    People find this process at `address`, if it shows them pages; what those are made of and is not ours lies in the
    folder `assets`.

    A deployment serves one `tenant`, or none: tokens whose claim of that name differs are refused.

    Operators are answered on `admin_port`, if there is one, and never on `api_port`.

    `credentials` is a folder with `ca.pem`, `cert.pem`, `key.pem`, `password` and `signing.key`; `evidence`
    is the folder in which checkpoints are kept outside the databases, `keys` the one with the keys that wrap keys.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    environment: Literal["development", "production"] = "production"
    principal: Name
    credentials: DirectoryPath
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    host: str = "127.0.0.1"
    api_port: Port = 8443
    health_port: Port = 8444
    admin_port: Port | None = None
    drain_seconds: float = Field(default=10.0, gt=0, le=300)
    kafka_bootstrap: str | None = None
    postgres_host: str | None = None
    postgres_port: Port = 5432
    oidc_issuer: Https | None = None
    oidc_audience: str = "headrace"
    tenant: str | None = None
    address: Https | None = None
    assets: Path | None = None
    evidence: Path | None = None
    keys: Path | None = None
    idempotency_hours: float = Field(default=168.0, ge=1, le=24 * 365)
    snapshot_every: int = Field(default=100, ge=0, le=1_000_000)
    hot_aggregates: int = Field(default=10_000, ge=0, le=10_000_000)
    projection_lane: Literal["faust", "direct"] = "faust"
    verify_rate: int = Field(default=600, ge=0, le=1_000_000)
    services: Mapping[str, Mapping[str, Places]] = Field(default_factory=dict)
    quotas: Mapping[Literal["command", "read", "admin", "stranger"], Quota] = Field(default_factory=dict)
    peers: tuple[Https, ...] = ()
    proxies: tuple[IPvAnyNetwork, ...] = ()
    origins: tuple[Https, ...] = ()

    @model_validator(mode="after")
    def _own_ports(self) -> Self:
        names = ("api_port", "health_port", "admin_port")
        for one, other in combinations(names, 2):
            if getattr(self, one) == getattr(self, other):
                raise ValueError(f"{PREFIX}{one.upper()} and {PREFIX}{other.upper()} are the same")
        return self

    @property
    def ca_file(self) -> Path:
        return self.credentials / "ca.pem"

    @property
    def cert_file(self) -> Path:
        return self.credentials / "cert.pem"

    @property
    def key_file(self) -> Path:
        return self.credentials / "key.pem"

    @property
    def password_file(self) -> Path:
        return self.credentials / "password"

    @property
    def password(self) -> str:
        try:
            return self.password_file.read_text().strip()
        except FileNotFoundError:
            raise SettingsError(f"{self.password_file} is missing") from None

    def need(self, *names: str) -> Self:
        """These settings, or `SettingsError` naming those that are missing."""
        missing = [f"{PREFIX}{name.upper()}" for name in names if getattr(self, name) is None]
        if missing:
            raise SettingsError(f"not set: {', '.join(missing)}")
        return self


def load() -> Settings:
    """The settings of this process; anything unknown, missing or unsafe is refused by name."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise SettingsError(f"unknown setting: {', '.join(unknown)}", f"known are {', '.join(sorted(known))}")
    settings = made()
    check_files(settings)
    return settings


def made(**given: Any) -> Settings:
    """These settings, and what the environment says besides. Raises `SettingsError`, which names those at fault."""
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("; ".join(map(fault, error.errors()))) from None
    except Unparsable as error:
        raise SettingsError(f"{PREFIX}{field(error)} is not JSON") from None


def field(error: Unparsable) -> str:
    """The field that could not be parsed, which stands in quotes in the message."""
    _, _, rest = str(error).partition('"')
    return rest.partition('"')[0].upper()


def fault(error: Mapping[str, Any]) -> str:
    """One fault in words, with the name of the variable."""
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{PREFIX}{str(error['loc'][0]).upper()}: {message}" if error["loc"] else message


def check_files(settings: Settings) -> None:
    """Credentials must be there, and secrets must be for their owner only."""
    for file in (settings.ca_file, settings.cert_file, settings.key_file):
        if not file.is_file():
            raise SettingsError(f"{file} is missing")
    for secret in (settings.key_file, settings.password_file):
        if secret.exists() and secret.stat().st_mode & 0o077:
            raise SettingsError(f"{secret} can be read by others", f"chmod 600 {secret}")
