"""What balancers, Kubernetes and Prometheus ask."""

import trio
from quart import Response, jsonify, request
from quart_trio import QuartTrio

from service.calls.roster import Roster
from service.tally import Refusal
from service.web.errors import error
from service.web.metrics import Metrics
from service.web.openapi import Answer, described, failed, one_of, record


class Probes:
    """Whether the process lives, whether it goes away, and whether it has room."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def register(self, app: QuartTrio) -> None:
        """Add the routes to the app."""
        app.get("/health")(self.health)
        app.get("/ready")(self.ready)
        app.get("/capacity")(self.capacity)

    @described(
        "Whether the event loop turns", {200: Answer("it does", record(status=one_of("ok")))}
    )
    async def health(self) -> Response:
        """Answer, which is all that the liveness probe asks for."""
        return jsonify(status="ok")

    @described(
        "Whether the service stays",
        {200: Answer("it does", record(status=one_of("ready"))),
         503: failed("it is going away", "draining")},
    )  # fmt: skip
    async def ready(self) -> Response:
        """Say whether the service stays.

        A full service is ready: a balancer may cut the calls of an instance that is not.
        """
        if self._roster.draining:
            return error(503, Refusal.DRAINING, "the service is going away")
        return jsonify(status="ready")

    @described(
        "Whether newcomers should come here",
        {200: Answer("they should", record(status=one_of("accepting"))),
         503: failed("it is full, or going away", "at_capacity", "draining")},
    )  # fmt: skip
    async def capacity(self) -> Response:
        """Say whether newcomers should come here."""
        reason = self._roster.no_capacity()
        if reason is None:
            return jsonify(status="accepting")
        return error(503, reason, "newcomers should go elsewhere")


class Scrapes:
    """The metrics page."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._turn = trio.Semaphore(1)

    def register(self, app: QuartTrio) -> None:
        """Add the route to the app."""
        app.get("/metrics")(self.scrape)

    @described(
        "The metrics, for Prometheus",
        {200: Answer("all metrics", None, ("text/plain", "application/openmetrics-text"))},
    )
    async def scrape(self) -> Response:
        """Return the metrics."""
        # A page takes 3 ms; of many scrapers each waits for its turn, and the calls have theirs.
        async with self._turn:
            await trio.lowlevel.checkpoint()
            page, content_type = self._metrics.render(request.headers.get("Accept", ""))
        return Response(page, content_type=content_type)
