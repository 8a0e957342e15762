"""The settings of one process: environment variables `HEADRACE_*`, and secrets as files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import DirectoryPath, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.errors import SettingsError

PREFIX = "HEADRACE_"


class Settings(BaseSettings):
    """What a process is told. `credentials` is a folder with `ca.pem`, `cert.pem`, `key.pem` and `password`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    environment: Literal["development", "production"] = "production"
    principal: str
    credentials: DirectoryPath
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    host: str = "127.0.0.1"
    api_port: int = Field(default=8443, ge=1, le=65535)
    health_port: int = Field(default=8444, ge=1, le=65535)
    drain_seconds: float = Field(default=10.0, gt=0, le=300)
    kafka_bootstrap: str | None = None
    postgres_host: str | None = None
    postgres_port: int = Field(default=5432, ge=1, le=65535)
    oidc_issuer: str | None = None
    oidc_audience: str = "headrace"
    services: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)

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
        return self.password_file.read_text().strip()

    def need(self, *names: str) -> Self:
        """These settings, or `SettingsError` naming those that are missing."""
        missing = [f"{PREFIX}{name.upper()}" for name in names if getattr(self, name) is None]
        if missing:
            raise SettingsError(f"not set: {', '.join(missing)}")
        return self


def load() -> Settings:
    """The settings of this process; anything unknown, missing or unsafe is refused by name."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(f"unknown setting: {', '.join(unknown)}", f"known are {', '.join(sorted(known))}")
    try:
        settings = Settings()
    except ValidationError as error:
        faults = (f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
        raise SettingsError("; ".join(faults)) from None
    for secret in (settings.key_file, settings.password_file):
        if secret.exists() and secret.stat().st_mode & 0o077:
            raise SettingsError(f"{secret} can be read by others", f"chmod 600 {secret}")
    issuer = settings.oidc_issuer
    if issuer is not None and not issuer.startswith("https://"):
        raise SettingsError(f"{PREFIX}OIDC_ISSUER must be an https address, not {issuer!r}")
    return settings
