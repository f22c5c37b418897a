"""A headless Chromium, spoken to through its DevTools pipe: no driver, no library, no port."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
]


class Browser:
    """One page in one browser; `messages` holds its console, `requests` what it asked for."""

    def __init__(self, profile: Path, *flags: str) -> None:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # The protocol wants descriptors 3 and 4; the shell puts them there.
        command = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(
            [
                "bash",
                "-c",
                command,
                str(CHROMIUM),
                *_FLAGS,
                *flags,
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        os.set_blocking(ours_in, False)
        self._in, self._out, self._buffer, self._count = ours_in, ours_out, b"", 0
        self._session: str | None = None
        self.messages: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, name: str, **parameters: Any) -> Any:
        """Send one command and wait for its answer."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": name, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for answer in self._received():
                if answer.get("id") == self._count:
                    if "error" in answer:
                        raise RuntimeError(f"{name}: {answer['error']}")
                    return answer["result"]
            time.sleep(0.01)
        raise TimeoutError(name)

    def _received(self) -> list[dict[str, Any]]:
        try:
            self._buffer += os.read(self._in, 1 << 24)
        except BlockingIOError:
            return []
        *whole, self._buffer = self._buffer.split(b"\0")
        answers = [json.loads(text) for text in whole]
        for answer in answers:
            self._note(answer.get("method", ""), answer.get("params", {}))
        return answers

    def _note(self, method: str, p: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled" and p["type"] in ("error", "warning"):
            self.messages.append(str([a.get("value", a.get("description")) for a in p["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.messages.append(str(p["exceptionDetails"]))
        elif method == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
            self.messages.append(p["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(p["request"]["url"])
        elif method == "Page.javascriptDialogOpening":
            self.messages.append("dialog: " + p["message"])

    def open(
        self, page: Path, *, width: int = 1280, dark: bool = False, scripts: bool = True
    ) -> None:
        """Load a page."""
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        self.call("Page.navigate", url=page.resolve().as_uri())
        until = time.monotonic() + 30
        while self.value("document.readyState") != "complete" and time.monotonic() < until:
            time.sleep(0.05)

    def unfold(self, which: str = "main details") -> None:
        """Open what is folded."""
        self.value(f"document.querySelectorAll('{which}').forEach(d => {{ d.open = true; }})")

    def draw(self, *, unfold: bool = True) -> None:
        """Bring every chart into sight, so that it is drawn."""
        if unfold:
            self.unfold()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=self.value("innerWidth"),
            height=30000,
            deviceScaleFactor=1,
            mobile=False,
        )
        until = time.monotonic() + 30
        waiting = "document.querySelectorAll('.chart:not(.drawn)').length"
        while self.value(waiting) and time.monotonic() < until:
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """Evaluate an expression in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {
            "x": 0,
            "y": 0,
            "width": size["width"],
            "height": self.value("document.body.scrollHeight"),
            "scale": 1,
        }
        data = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self, path: Path) -> None:
        """The page as it prints."""
        data = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """End the browser."""
        try:
            self._session = None
            self.call("Browser.close")
        finally:
            os.close(self._in)
            os.close(self._out)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
