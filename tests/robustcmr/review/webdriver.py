"""A browser driven by the WebDriver protocol, which is JSON over HTTP: Chromium through chromedriver."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
DRIVER = shutil.which("chromedriver")
KEYS = {"Backspace": "\ue003", "Escape": "\ue00c", "Enter": "\ue007"}


class Browser:
    """One window; ``tab`` opens more."""

    def __init__(self, driver: str, **options: Any) -> None:
        self._driver = driver
        arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        arguments += ["--window-size=1280,900", "--no-first-run", "--disable-background-networking"]
        settings = {"binary": CHROMIUM, "args": arguments, **options}
        wanted = {
            "capabilities": {
                "alwaysMatch": {"goog:chromeOptions": settings, "goog:loggingPrefs": {"browser": "ALL"}}
            }
        }
        self._session = _call(driver, "POST", "/session", wanted)["sessionId"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return _call(self._driver, method, f"/session/{self._session}{path}", body)

    def open(self, address: str) -> None:
        self.call("POST", "/url", {"url": address})

    def run(self, script: str, *values: Any) -> Any:
        return self.call("POST", "/execute/sync", {"script": script, "args": list(values)})

    def text(self, selector: str) -> str:
        """What a person sees of an element; "" where it is hidden."""
        seen = "const e = document.querySelector(arguments[0]);"
        return str(self.run(f"{seen} return e && e.getClientRects().length ? e.innerText : ''", selector))

    def press(self, *keys: str) -> None:
        """Press keys one after the other, as a keyboard does."""
        actions = [
            {"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")
        ]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def click(self, selector: str) -> None:
        found = self.call("POST", "/element", {"using": "css selector", "value": selector})
        self.call("POST", f"/element/{next(iter(found.values()))}/click", {})

    def wait(self, condition: Callable[[], Any], what: str = "", seconds: float = 15) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.03)
        raise AssertionError(f"waited in vain for {what}; the page says: {self.text('body')}")

    def tab(self) -> str:
        """Open another tab and go to it; returns its handle."""
        handle = self.call("POST", "/window/new", {"type": "tab"})["handle"]
        self.go(handle)
        return str(handle)

    def here(self) -> str:
        return str(self.call("GET", "/window"))

    def go(self, handle: str) -> None:
        self.call("POST", "/window", {"handle": handle})

    def devtools(self, command: str, **values: Any) -> Any:
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": values})

    def complaints(self) -> list[str]:
        """Errors and broken policies that the console of the page shows."""
        found = self.call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in found if entry["level"] == "SEVERE"]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.call("DELETE", "")


def _call(driver: str, method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(driver + path, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {path}: {error.read().decode()[:500]}") from error


@contextlib.contextmanager
def driver() -> Iterator[str]:
    """Run chromedriver; the context is its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), 1):
                    break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
