"""python -m gateway.bench.hello: FastAPI that takes the body of a command and says hello, on our TLS."""

import ssl
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI

from domains.discovery import discover
from gateway.bench.place import asked_of
from infra import settings
from infra.web import tls


def hello() -> FastAPI:
    app, (domain, version, command, model) = FastAPI(openapi_url=None), asked_of(discover())
    body_model: Any = model

    @app.post(f"/v{version}/{domain.name}/{{id}}/{command}", status_code=201)
    async def said(id: str, body: body_model) -> dict[str, str]:
        return {"hello": id, "again": str(getattr(body, domain.identity))}

    return app


async def main() -> None:
    told = settings.load()
    context = tls.server(told, ssl.CERT_NONE)
    config = uvicorn.Config(
        hello(),
        host=told.host,
        port=told.api_port,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        ssl_context_factory=lambda _, __: context,
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvloop.run(main())
