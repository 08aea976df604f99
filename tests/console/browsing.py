"""A real Chromium for the tests of the console: kept off the network, with a fake microphone.

Playwright's driver is used with the system's own browser. Its `wait_for_function` needs `eval`,
which the page's policy forbids, so `until` asks again and again instead.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.peers.processes import Served

#: Chromium without its own windows and pages, which take longer to start than a test lasts.
CHROMIUM = shutil.which("chromium-headless-shell")
needs_chromium = pytest.mark.integration("chromium-headless-shell", "chromium-headless-shell")
#: A name for loopback that is no secure context, as a service elsewhere in the network is none.
INSECURE_HOST = "console.test"
SCREENSHOTS = Path(__file__).parent.parent / ".screenshots"

_FLAGS = [
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
_DEADLINE_SECONDS = 30
_PAUSE_MS = 40  # between two looks, so that looking does not starve what is looked at


@contextmanager
def chromium() -> Iterator[Browser]:
    """Have a browser for the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield browser
        browser.close()


def address(served: Served, host: str = "127.0.0.1") -> str:
    """Return the address of a service's page."""
    return f"http://{host}:{served.port}/"


class Witness:
    """What a page says on its console, and which origins it asks for anything."""

    def __init__(self, page: Page) -> None:
        self.complaints: list[str] = []
        self.origins: set[str] = set()
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.origins.add(urlsplit(request.url).netloc))

    def _note(self, kind: str, text: str) -> None:
        # The browser itself reports what a test is about: an upgrade refused, a service gone.
        wanted = "WebSocket connection to" in text or "net::ERR_CONNECTION_REFUSED" in text
        if kind in ("error", "warning") and not wanted:
            self.complaints.append(text)

    def content(self, page: Page) -> None:
        """Assert that the page has had no complaint, and asked no other origin than its own."""
        assert self.complaints == []
        assert self.origins == {urlsplit(page.url).netloc}


@contextmanager
def browsing(browser: Browser, url: str, **options: Any) -> Iterator[tuple[Page, Witness]]:
    """Have the page open, in a context of its own, and its witness.

    It asks for less motion unless told otherwise: two pictures a second leave the machine to the
    other tests.
    """
    context = browser.new_context(**{"reduced_motion": "reduce"} | options)
    page = context.new_page()
    witness = Witness(page)
    page.goto(url)
    # The version comes with the facts of the server, which the page has then.
    until(page, "document.querySelector('#version').textContent !== ''")
    try:
        yield page, witness
        witness.content(page)
    finally:
        context.close()


def until(page: Page, condition: str, argument: object = None) -> Any:
    """Return the value of a JavaScript expression (or function) as soon as it is true."""
    give_up = time.monotonic() + _DEADLINE_SECONDS
    while not (value := page.evaluate(condition, argument)):
        if time.monotonic() > give_up:
            raise AssertionError(f"never true: {condition}; {state(page)}")
        page.wait_for_timeout(_PAUSE_MS)
    return value


def state(page: Page) -> str:
    """Return what the page says of the call."""
    return page.locator("#state").inner_text().replace("\n", " ")


def connect(page: Page, frames: int = 10) -> None:
    """Connect, and return when this many frames have come back."""
    page.get_by_role("button", name="Connect").click()
    says(page, "Connected")
    wait_for_frames(page, frames)


def wait_for_frames(page: Page, frames: int) -> None:
    """Return when this many frames of the call have come back."""
    until(page, "frames => Number(document.querySelector('#readouts').dataset.frames) >= frames",
          frames)  # fmt: skip


def disconnect(page: Page) -> None:
    """Hang up, and return when the page says that the call is over."""
    page.get_by_role("button", name="Disconnect").click()
    says(page, "Disconnected")


def says(page: Page, *words: str) -> None:
    """Return when the page says all these words of the call."""
    said = "document.querySelector('#state').innerText"
    until(page, f"words => words.every(each => {said}.includes(each))", list(words))


def reset(page: Page) -> None:
    """Bring the page back to where it began, without loading it again."""
    page.get_by_role("tab", name="Call").click()
    if page.locator("#connect").inner_text() == "Disconnect":
        disconnect(page)
    page.evaluate("""() => {
      const form = document.querySelector("#settings");
      form.reset();
      form.source[0].dispatchEvent(new Event("change", { bubbles: true }));
      form.buffer.dispatchEvent(new Event("input", { bubbles: true }));
    }""")


def choose(page: Page, **values: str) -> None:
    """Choose in the form; `source` and `sound` by their labels, the rest by value."""
    if source := values.pop("source", None):
        page.get_by_role("radio", name=source).check()
    if values:
        page.locator("#wire").evaluate("details => details.open = true")
    for name, value in values.items():
        page.locator(f"select[name={name}]").select_option(value)


def drawn(page: Page, canvas: str, colour: str) -> int:
    """Return how many pixels of a canvas have one of the theme's colours."""
    return sum(_columns(page, canvas, colour))


def pieces(page: Page, canvas: str, colour: str) -> int:
    """Return how many pieces a line of this colour has from left to right."""
    columns = [count > 0 for count in _columns(page, canvas, colour)]
    return sum(now and not before for before, now in zip([False, *columns], columns, strict=False))


def _columns(page: Page, canvas: str, colour: str) -> list[int]:
    return list(page.evaluate(_COUNT, [canvas, colour]))


def fills(page: Page, canvas: str, colour: str, pixels: int = 40) -> None:
    """Return when a canvas has more than so many pixels of one of the theme's colours."""
    _wait(page, lambda: drawn(page, canvas, colour) > pixels, f"{canvas} has no {colour}")


def breaks(page: Page, canvas: str, colour: str, wanted: int) -> None:
    """Return when a line on a canvas has so many pieces."""
    _wait(page, lambda: pieces(page, canvas, colour) == wanted, f"{canvas} is in one piece")


def _wait(page: Page, condition: Callable[[], bool], otherwise: str) -> None:
    give_up = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, otherwise
        page.wait_for_timeout(_PAUSE_MS)


_COUNT = """([id, colour]) => {
  const { width, height } = document.getElementById(id);
  if (!width || !height) return Array(width).fill(0); // its tab was shown a moment ago
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const copy = canvas.getContext("2d", { willReadFrequently: true });
  copy.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${colour}`);
  copy.fillRect(0, 0, 1, 1);
  const [r, g, b] = copy.getImageData(0, 0, 1, 1).data;
  copy.clearRect(0, 0, 1, 1);
  copy.drawImage(document.getElementById(id), 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  const columns = Array(width).fill(0);
  for (let i = 0; i < data.length; i += 4) {
    const [red, green, blue] = data.slice(i, i + 3);
    const off = Math.abs(red - r) + Math.abs(green - g) + Math.abs(blue - b);
    columns[(i / 4) % width] += data[i + 3] > 60 && off < 24;
  }
  return columns;
}"""


def screenshot(page: Page, name: str) -> None:
    """Take a picture for people to look at, into a folder that git ignores."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=os.fspath(SCREENSHOTS / f"{name}.png"))


def faint(page: Page, least: float = 4.5) -> list[str]:
    """Return the texts in view that stand out from their background by less than this contrast.

    The contrast is WCAG's. What is disabled is exempt there, and here too.
    """
    return list(page.evaluate(_FAINT, least))


_FAINT = """(least) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const paper = canvas.getContext("2d", { willReadFrequently: true });
  const paint = (colour) => {
    paper.fillStyle = colour;
    paper.fillRect(0, 0, 1, 1);
    const [red, green, blue] = [...paper.getImageData(0, 0, 1, 1).data].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE)
      .map((node) => node.data).join("").trim();
    if (!text || !element.checkVisibility() || element.closest(":disabled")) continue;
    let ground = 0;
    const around = [];
    for (let each = element; each; each = each.parentElement) around.unshift(each);
    for (const each of around) ground = paint(getComputedStyle(each).backgroundColor);
    const ink = paint(getComputedStyle(element).color);
    const contrast = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    if (contrast < least) found.push(`${text}: ${contrast.toFixed(2)}`);
  }
  return found;
}"""
