"""A client that is generated from the document of today acts and asks as a person's program does."""

import json
import subprocess
import sys
from pathlib import Path

PATIENCE = 120
PYTHON = Path(sys.prefix) / "client" / "bin" / "python"
ORDERING = Path(__file__).parents[1] / "samples" / "client" / "ordering.py"


def test_a_generated_client_acts_and_asks(system, address, token, number, tmp_path):
    folder = tmp_path / "client"
    written = system.headrace("api", "client", str(folder))
    assert (written.returncode, written.stderr) == (0, "")
    arguments = [address, str(system.ca_file), token(), f"k{number}"]
    done = subprocess.run(
        [PYTHON, "-W", "error", ORDERING, *arguments],
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["done"]["stream"], told["done"]["version"]) == (f"orders-k{number}-2", 1)
    assert (told["row"]["status"], told["row"]["total"]) == ("placed", {"amount": "15.30", "currency": "GBP"})
    assert told["placed_at"] == "2010-12-01T08:26:00+00:00"
    assert [len(page) for page in told["pages"]] == [2, 1]
    assert sorted(order for page in told["pages"] for order in page) == [f"k{number}-{one}" for one in range(3)]
    assert told["events"] == ["orders.OrderPlaced.v1"]
    assert told["problems"] == [
        [412, "Problem", "/problems/precondition-failed"],
        [404, "Problem", "/problems/unknown-key"],
    ]
    assert system.headrace("api", "client", str(folder)).returncode == 1
