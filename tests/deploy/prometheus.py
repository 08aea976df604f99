"""Prometheus as a process, and a load from our own client."""

import json
import re
import subprocess
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Self
from urllib.parse import urlencode

import trio
import yaml

from service.client.dial import Address, connection
from service.client.roundtrips import RoundTrips
from tests.deploy.shipped import PROMETHEUS, PROMTOOL, SERVER
from tests.peers import processes
from tests.peers.processes import until
from tests.peers.reach import Service

#: What the load asks for, so that every codec, direction and encoding has frames.
CALLS = (
    "codec=audioop",
    "codec=numpy&reply=ulaw",
    "codec=pure_python&encoding=alaw&reply=pcm16",
    "codec=numpy&encoding=ulaw&reply=alaw",
)
#: The targets by their jobs, as host and port.
Targets = dict[str, str]


class Prometheus:
    """A Prometheus server with what we ship, but for its targets, and for how long it waits.

    In a hurry it scrapes each second, which is also what a scrape may take, and evaluates four
    times in it; an alert's `for` is nothing, as promtool's tests are about that. No expression is
    touched.
    """

    def __init__(self, url: str, folder: Path, secure: frozenset[str]) -> None:
        self._url, self._folder, self._secure = url, folder, secure

    @classmethod
    @contextmanager
    def running(
        cls,
        folder: Path,
        targets: Targets,
        *,
        secure: frozenset[str] = frozenset(),
        authority: Path | None = None,
        history: str | None = None,
        hurry: bool = True,
    ) -> Iterator[Self]:
        """Have the server for the block, scraping these targets.

        The `secure` jobs have TLS, by that certificate authority. `history` is what it has scraped
        before it began, as OpenMetrics with times.
        """
        _ship(folder, hurry)
        if history is not None:
            _remember(folder, history)
        server = cls("", folder, secure)
        server.look_at(targets)
        command = (
            SERVER,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        )
        trusted = {} if authority is None else {"SSL_CERT_FILE": str(authority)}
        with processes.running(*command, GOMAXPROCS="1", **trusted) as process:
            address = process.found(r'msg="Listening on" address=(\S+)')
            process.found("(Server is ready)")
            server._url = f"http://{address}"
            yield server

    def look_at(self, targets: Targets) -> None:
        """Scrape these targets from now on, and no others."""
        groups = [
            {
                "targets": [target],
                "labels": {"job": job, "__scheme__": "https" if job in self._secure else "http"},
            }
            for job, target in targets.items()
        ]
        (self._folder / "targets.yml").write_text(yaml.safe_dump(groups))

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of the HTTP API."""
        url = f"{self._url}/api/v1/{path}?{urlencode(parameters)}"
        try:
            return json.loads(processes.get(url))["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{url}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression has now: their labels, and [time, value]."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result

    def fires(self, name: str, **labels: str) -> dict[str, Any] | None:
        """Return the alert of that name which has these labels, if it fires."""
        for alert in self.get("alerts")["alerts"]:
            wanted = {"alertname": name, **labels}.items()
            if alert["state"] == "firing" and wanted <= alert["labels"].items():
                return dict(alert)
        return None

    def firing(self, name: str, **labels: str) -> dict[str, Any]:
        """Return the alert of that name which has these labels, once it fires."""
        alert = until(lambda: self.fires(name, **labels), name)
        assert alert is not None
        return alert


def _ship(folder: Path, hurry: bool) -> None:
    """Put what we ship into a folder, in a hurry without its long times."""
    for file in (PROMETHEUS / "prometheus.yml", *PROMETHEUS.glob("rules/*.yml")):
        name, text = file.relative_to(PROMETHEUS), file.read_text()
        if hurry:
            text = re.sub(r"\bscrape_interval: \w+", "scrape_interval: 1s", text)
            text = re.sub(r"\bevaluation_interval: \w+", "evaluation_interval: 250ms", text)
            text = re.sub(r"\bfor: \w+$", "for: 0s", text, flags=re.MULTILINE)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def _remember(folder: Path, history: str) -> None:
    """Make blocks of a history, as if it had been scraped."""
    (folder / "history.txt").write_text(history)
    command = (PROMTOOL, "tsdb", "create-blocks-from", "openmetrics")
    subprocess.run(
        [*command, folder / "history.txt", folder / "data"], check=True, capture_output=True
    )


@contextmanager
def load(port: int, answering_port: int) -> Iterator[None]:
    """Hold calls for the block, one of each kind, over and over, a second each.

    One more is with the service at `answering_port`, which has a handler.
    """
    calls = trio.CancelScope()
    frames = [bytes(320)] * 50

    async def call(query: str) -> None:
        address = Address.parse(f"ws://127.0.0.1:{port}/ws/audio?{query}")
        while True:
            async with connection(address) as ws:
                await RoundTrips(frames, 0.02).run(ws, str(address))

    async def talk() -> None:
        service = Service(answering_port)
        try:
            while True:
                caller = await service.call()
                for frame in frames:
                    await caller.send(frame)
                    await trio.sleep(0.02)
                await caller.leave()
        finally:
            with trio.move_on_after(1, shield=True):
                await service.hang_up()

    async def hold() -> None:
        with calls:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk)
                for query in CALLS:
                    nursery.start_soon(call, query)
                token.append(trio.lowlevel.current_trio_token())

    token: list[trio.lowlevel.TrioToken] = []
    thread = Thread(target=trio.run, args=(hold,))
    thread.start()
    try:
        until(lambda: token, "the load")
        yield
    finally:
        token[0].run_sync_soon(calls.cancel)
        thread.join()
