"""What a browser is told that comes back from a login."""

from contextlib import closing
from http.client import HTTPConnection
from threading import Thread
from urllib.parse import urlsplit

import pytest

from infra.login import Waiting


@pytest.mark.parametrize("answer", ["code=c&state=s", "error=access_denied&state=s", "code=c&state=another"])
def test_a_browser_is_not_told_that_a_login_went_well_before_that_is_known(answer):
    pages = []

    def come_back(address):
        parts = urlsplit(address)
        with closing(HTTPConnection(parts.hostname, parts.port, timeout=10)) as connection:
            connection.request("GET", f"{parts.path}?{answer}")
            pages.append(connection.getresponse().read())

    with Waiting() as waiting:
        browser = Thread(target=come_back, args=(waiting.address,))
        browser.start()
        assert "state" in waiting.answer(10)
        browser.join(10)
    assert b"logged in" not in pages[0]
