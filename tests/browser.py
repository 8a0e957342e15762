"""Headless Chromium, driven over its DevTools protocol: a page as a person has it."""

import asyncio
import base64
import hashlib
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60
LOOK = "new Promise(done => { const look = () => (%s) ? done(true) : setTimeout(look, 50); look(); })"
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


def found():
    """The browser of this machine, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def pinned(certificate):
    """What Chromium calls the key of a certificate."""
    key = x509.load_pem_x509_certificate(Path(certificate).read_bytes()).public_key()
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(encoded).digest()).decode()


class NavigatedAway(Exception):
    """The page that was asked is no longer there."""


class Page:
    """One page; `complaints` is what the browser said of it, refused scripts and styles among them."""

    def __init__(self, socket):
        self._socket, self._number, self._answers = socket, 0, {}
        self.complaints = []

    async def listen(self):
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            elif told["method"] in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.complaints.append(told["params"])

    async def do(self, method, **given):
        self._number += 1
        number, answer = self._number, asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self._socket.send_json({"id": number, "method": method, "params": given})
        told = await asyncio.wait_for(answer, PATIENCE)
        if "error" in told:
            raise NavigatedAway(told["error"])
        return told["result"]

    async def ask(self, script):
        """What a script answers; a promise is waited for."""
        told = await self.do("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, condition):
        """Waits until an expression holds, on whatever page there is by then."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    return await self.ask(LOOK % condition)
                except NavigatedAway:
                    continue

    async def go(self, address):
        await self.do("Page.navigate", url=address)
        await self.until("document.readyState === 'complete'")

    async def press(self, key, code=None, text=None):
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            await self.do("Input.dispatchKeyEvent", type=kind, key=key, code=code or key, **more)

    async def size(self, width, height, phone=False):
        scale = 2 if phone else 1
        await self.do(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )

    async def scheme(self, name):
        await self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    async def picture(self):
        """All of the page, as PNG."""
        told = await self.do("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(told["data"])


@asynccontextmanager
async def browsing(folder, certificates):
    """A page of a browser of its own, which trusts the servers with these certificates."""
    keys = ",".join(map(pinned, certificates))
    call = [found(), *QUIET, f"--user-data-dir={folder}", f"--ignore-certificate-errors-spki-list={keys}"]
    browser = await asyncio.create_subprocess_exec(
        *call, "--remote-debugging-port=0", "about:blank", stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while b"DevTools listening on" not in (line := await browser.stderr.readline()):
                assert line, "the browser ended"
        port = line.decode().rpartition(":")[2].partition("/")[0]
        silencing = asyncio.create_task(browser.stderr.read())
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                [target] = [one for one in await answer.json() if one["type"] == "page"]
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                for name in ("Page", "Runtime", "Log"):
                    await page.do(f"{name}.enable")
                yield page
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    finally:
        browser.terminate()
        await browser.wait()
    await silencing
