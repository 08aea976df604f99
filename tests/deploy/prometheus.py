"""Prometheus as a process, and a load from our own client."""

import json
import re
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
from service.client.stream import RoundTrips
from tests.deploy.shipped import PROMETHEUS, SERVER
from tests.peers import processes
from tests.peers.processes import until

#: What the load asks for, so that every codec, direction and encoding has frames.
CALLS = (
    "codec=audioop",
    "codec=numpy&reply=ulaw",
    "codec=pure_python&encoding=alaw&reply=pcm16",
    "codec=numpy&encoding=ulaw&reply=alaw",
)


class Prometheus:
    """A Prometheus server with what we ship, but for its targets, and for how long it waits.

    It scrapes each second, which is also what a scrape may take, and evaluates four times in it;
    an alert's `for` is nothing, as promtool's tests are about that. No expression is touched.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @classmethod
    @contextmanager
    def running(cls, folder: Path, ports: dict[str, int]) -> Iterator[Self]:
        """Have the server for the block, scraping these ports, each a job of its own."""
        _ship(folder, ports)
        command = (
            SERVER,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        )
        with processes.running(*command, GOMAXPROCS="1") as server:
            address = server.found(r'msg="Listening on" address=(\S+)')
            server.found("(Server is ready)")
            yield cls(f"http://{address}")

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

    def firing(self, name: str, job: str) -> dict[str, Any]:
        """Return the alert of that name and job, once it fires."""

        def fires() -> list[dict[str, Any]]:
            return [
                alert
                for alert in self.get("alerts")["alerts"]
                if (alert["labels"]["alertname"], alert["labels"].get("job")) == (name, job)
                and alert["state"] == "firing"
            ]

        return until(fires, name)[0]


def _ship(folder: Path, ports: dict[str, int]) -> None:
    """Put what we ship into a folder, with these targets and without its long times."""
    for file in (PROMETHEUS / "prometheus.yml", *PROMETHEUS.glob("rules/*.yml")):
        name, text = file.relative_to(PROMETHEUS), file.read_text()
        text = re.sub(r"\bscrape_interval: \w+", "scrape_interval: 1s", text)
        text = re.sub(r"\bevaluation_interval: \w+", "evaluation_interval: 250ms", text)
        text = re.sub(r"\bfor: \w+$", "for: 0s", text, flags=re.MULTILINE)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    groups = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"job": job}} for job, port in ports.items()
    ]
    (folder / "targets.yml").write_text(yaml.safe_dump(groups))


@contextmanager
def load(port: int) -> Iterator[None]:
    """Hold calls for the block, one of each kind, over and over, a second each."""
    calls = trio.CancelScope()
    frames = [bytes(320)] * 50

    async def call(query: str) -> None:
        address = Address.parse(f"ws://127.0.0.1:{port}/ws/audio?{query}")
        while True:
            async with connection(address) as ws:
                await RoundTrips(frames, 0.02).run(ws, str(address))

    async def hold() -> None:
        with calls:
            async with trio.open_nursery() as nursery:
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
