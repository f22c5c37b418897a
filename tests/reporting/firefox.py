"""A headless Firefox, spoken to in WebDriver BiDi over its socket: no driver, no library."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

FIREFOX = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
# Nothing is asked of anybody before the page is opened.
_PREFERENCES = {
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}


class _Socket:
    """The client's half of RFC 6455, as far as two programs on one machine need it."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self._socket = socket.create_connection((host, port), timeout=60)
        self._reader = self._socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            .encode()
        )  # fmt: skip
        status = self._reader.readline()
        while self._reader.readline().strip():
            pass
        if b" 101 " not in status:
            raise ConnectionError(status.decode())

    def send(self, text: str) -> None:
        data = text.encode()
        if len(data) < 126:
            size = bytes([128 + len(data)])
        elif len(data) < 1 << 16:
            size = b"\xfe" + len(data).to_bytes(2, "big")
        else:
            size = b"\xff" + len(data).to_bytes(8, "big")
        mask = b"mask"  # one of zeros is refused
        masked = np.frombuffer(data, np.uint8) ^ np.resize(np.frombuffer(mask, np.uint8), len(data))
        self._socket.sendall(b"\x81" + size + mask + masked.tobytes())

    def receive(self) -> str:
        parts, last = [], False
        while not last:
            first, size = self._reader.read(2)
            if size >= 126:
                size = int.from_bytes(self._reader.read(2 if size == 126 else 8), "big")
            data = self._reader.read(size)
            if first & 15 == 8:
                raise ConnectionError("Firefox hung up")
            if first & 15 < 3:  # neither ping nor pong
                parts.append(data)
                last = bool(first & 128)
        return b"".join(parts).decode()

    def close(self) -> None:
        self._reader.close()
        self._socket.close()


class Firefox:
    """One page in one Firefox; `messages` holds its console, `requests` what it asked for."""

    def __init__(self, profile: Path) -> None:
        profile.mkdir(parents=True, exist_ok=True)
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in _PREFERENCES.items()]
        (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
        self.process = subprocess.Popen(
            [str(FIREFOX), "--headless", "--no-remote", "--remote-debugging-port", "0",
             "--profile", str(profile), "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._count = 0
        try:
            self._socket = _Socket(*self._address(profile / "WebDriverBiDiServer.json"), "/session")
            self.call("session.new", capabilities={})
            self.call("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
            (first,) = self.call("browsingContext.getTree")["contexts"]
            self._context = first["context"]
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _address(self, told: Path) -> tuple[str, int]:
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError, ValueError):  # not yet there, or half written
                found = json.loads(told.read_text("utf-8"))
                return found["ws_host"], found["ws_port"]
            time.sleep(0.05)
        raise TimeoutError("Firefox told of no port")

    def call(self, name: str, **parameters: Any) -> Any:
        """Send one command and wait for its answer."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": name, "params": parameters}))
        while True:
            answer = json.loads(self._socket.receive())
            if answer.get("id") != self._count:
                self._note(answer.get("method", ""), answer.get("params", {}))
            elif answer["type"] == "error":
                raise RuntimeError(f"{name}: {answer['error']}: {answer['message']}")
            else:
                return answer["result"]

    def _note(self, method: str, p: dict[str, Any]) -> None:
        if method == "log.entryAdded" and p["level"] in ("error", "warn"):
            self.messages.append(p["text"])
        elif method == "network.beforeRequestSent":
            self.requests.append(p["request"]["url"])

    def open(self, page: Path) -> None:
        """Load a page."""
        url = page.resolve().as_uri()
        self.call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def value(self, expression: str) -> Any:
        """Evaluate an expression in the page."""
        # What JSON can say comes back as a text: BiDi wraps each number of a list by itself.
        found = self.call(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self._context},
            awaitPromise=True,
        )
        if found["type"] == "exception":
            raise RuntimeError(found["exceptionDetails"]["text"])
        text = found["result"].get("value")
        return None if text is None else json.loads(text)

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file in a field, as a reader does."""
        found = self.call(
            "browsingContext.locateNodes",
            context=self._context,
            locator={"type": "css", "value": selector},
        )
        (node,) = found["nodes"]
        self.call(
            "input.setFiles",
            context=self._context,
            element={"sharedId": node["sharedId"]},
            files=[str(file.resolve())],
        )

    def close(self) -> None:
        """End the browser."""
        try:
            self.call("browser.close")
        finally:
            self._socket.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
