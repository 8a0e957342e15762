"""The documents are what the system does: schemathesis asks what they allow, and what they forbid, with all its checks.

`HEADRACE_API_EXAMPLES` is how many requests are made up for each operation; with it, every border of every parameter
is tried as well, HEAD beside GET, and what follows from earlier answers.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.plan import OPERATOR

HERE = Path(__file__).parent / "api"
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLES = os.environ.get("HEADRACE_API_EXAMPLES")
LONG = ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", EXAMPLES]
SHORT = [
    "--phases",
    "examples,fuzzing",
    "--max-examples",
    "2",
    "--exclude-method",
    "HEAD",
    "--generation-deterministic",
]
SECONDS = 3600 if EXAMPLES else 150


@pytest.mark.timeout(SECONDS + 120)
def test_what_is_asked_by_the_document_is_answered_as_it_says(system, address, token, tmp_path, summary):
    call = [SCHEMATHESIS, "--config-file", HERE / "schemathesis.toml", "run", f"{address}/openapi.json"]
    call += ["--tls-verify", system.settings(OPERATOR).ca_file, "--header", f"Authorization: Bearer {token()}"]
    # A stream of changes has no end that could be waited for.
    call += ["--exclude-path-regex", "/stream$", "--request-timeout", "10", "--continue-on-failure", "--no-color"]
    call += ["--checks", "all", *(LONG if EXAMPLES else SHORT)]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    summary += [line.strip() for line in done.stdout.splitlines() if " generated, " in line]
