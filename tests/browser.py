"""A headless Chromium, driven by the DevTools protocol through two pipes: no port, no package."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
PATIENCE = 60  # s for an answer, far beyond what any takes
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


class Browser:
    """One tab. What the page logs, throws or asks of the network is kept in ``complaints``."""

    def __init__(self, *, width: int = 1280, height: int = 900) -> None:
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_child, self.writer = os.pipe()
        self.reader, from_child = os.pipe()
        flags = " ".join(FLAGS)
        command = (
            f'exec "$0" {flags} --remote-debugging-pipe --user-data-dir="$1" about:blank 3<&{to_child} 4>&{from_child}'
        )
        self.process = subprocess.Popen(
            ["bash", "-c", command, CHROMIUM, self.profile.name],
            pass_fds=(to_child, from_child),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        self.count, self.session, self.rest = 0, None, b""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.loaded = False
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.writer)  # which ends it
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.reader)
        self.profile.cleanup()

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command and its answer."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self.count:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            if not select.select([self.reader], [], [], PATIENCE)[0]:
                raise TimeoutError("the browser does not answer")
            if not (data := os.read(self.reader, 1 << 20)):
                raise RuntimeError("the browser has ended")
            self.rest += data
        text, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def resize(self, width: int, height: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, page: Path) -> float:
        """Load a file; the seconds until it was loaded and ready."""
        self.loaded, self.requests, self.complaints = False, [], []
        start = time.perf_counter()
        self.send("Page.navigate", url=page.resolve().as_uri())
        while not self.loaded:
            self._receive()
        self.wait("document.body.dataset.ready === 'true'")
        return time.perf_counter() - start

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        told = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise RuntimeError(told["exceptionDetails"].get("exception", {}).get("description", script))
        return told["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until a condition holds in the page."""
        end = time.monotonic() + PATIENCE
        while not self.run(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"never came true: {condition}")
            time.sleep(0.02)

    def place(self, selector: str, *, x: float = 0.5, y: float = 0.5) -> tuple[float, float]:
        """A point of an element, in pixels of the window, after scrolling to it."""
        find = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{find}.scrollIntoView({{block: 'nearest', behavior: 'instant'}})")
        box = self.run(f"(({{x, y, width, height}}) => [x, y, width, height])({find}.getBoundingClientRect())")
        return box[0] + x * box[2], box[1] + y * box[3]

    def click(self, selector: str, **at: float) -> None:
        self.drag(selector, at, at)

    def drag(self, selector: str, start: dict[str, float], end: dict[str, float]) -> None:
        """Press at one point of an element, move, and release at another; shares of its width and height."""
        points = [self.place(selector, **start), self.place(selector, **end)]
        kinds = ("mouseMoved", "mousePressed", "mouseMoved", "mouseReleased")
        for kind, (x, y) in zip(kinds, (points[0], points[0], points[1], points[1]), strict=True):
            pressed = 0 if kind == "mouseReleased" or kind == kinds[0] else 1
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=pressed, clickCount=1)

    def press(self, key: str, code: int) -> None:
        """A key, by its name and its Windows code."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))
