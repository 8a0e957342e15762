"""python -m infra.docker.ready: exits 0 when the process in this container is ready; else says why it is not.

It imports nothing of ours, since it runs every few seconds.
"""

import os
import ssl
import sys
from http.client import HTTPException, HTTPSConnection

SECONDS = 3
HEALTH_PORT = 8444


def main() -> int:
    context = ssl.create_default_context(cafile=f"{os.environ['HEADRACE_CREDENTIALS']}/ca.pem")
    connection = HTTPSConnection("127.0.0.1", HEALTH_PORT, timeout=SECONDS, context=context)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        sys.stdout.write(answer.read(4096).decode(errors="replace"))
    except (OSError, HTTPException) as error:
        sys.stdout.write(f"no answer on the health port: {error}")
        return 1
    finally:
        connection.close()
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
