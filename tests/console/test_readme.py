"""README's page that talks with a bot, as printed but for the address, in a real Chromium."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.console.browsing import chromium, needs_chromium
from tests.peers.processes import DEADLINE_SECONDS, ROOT, serving

pytestmark = needs_chromium

BUTTON = "<!doctype html><button>Talk</button>"


@contextmanager
def another_site(pages: dict[str, tuple[str, str]]) -> Iterator[str]:
    """Have a web server with these pages, by path their type and text; yield its origin."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, text = pages.get(self.path, ("text/plain", ""))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_example_plays_returns_marks_and_obeys_clear() -> None:
    [program] = re.findall(r"^```js\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    assert "ws://localhost:8001/ws/audio" in program
    pages = {"/": ("text/html", f"{BUTTON}<script type=module src=talk.js></script>")}
    with (
        another_site(pages) as origin,
        serving(
            RT_AUDIO_ALLOWED_ORIGINS=origin, RT_AUDIO_HANDLER="tests.peers.bots:interrupted"
        ) as served,
        chromium() as browser,
    ):
        program = program.replace("ws://localhost:8001/ws/audio", served.url)
        pages["/talk.js"] = "text/javascript", program
        page = browser.new_page()
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(f"error: {error}"))
        page.goto(origin)
        page.get_by_role("button").click()
        give_up = time.monotonic() + DEADLINE_SECONDS
        frames = 'rt_audio_frames_total{direction="inbound"}'
        while served.metrics()[frames] < 50:  # a second of the microphone
            assert time.monotonic() < give_up, told
            page.wait_for_timeout(40)
        page.evaluate("press('5')")
        # The bot sends keys only once the page has returned its mark.
        while not any(text.startswith("keys:") for text in told):
            assert time.monotonic() < give_up, told
            page.wait_for_timeout(40)
        message, keys = told
        assert keys == "keys: 42#"
        answer = json.loads(message.removeprefix("bot: "))
        assert answer["told"] == "5"
        assert 300 < answer["heard"] < 3900
