"""An OpenTelemetry collector on loopback: it takes OTLP over HTTP, in a thread of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

Value = str | int


class Collector:
    """What was exported so far; while `stalled` is set, a request gets no answer."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = Event()
        self.stalled = False
        self.over = Event()
        self.resources: list[ResourceSpans] = []

    @property
    def spans(self) -> list[Span]:
        return [
            span for each in self.resources for scope in each.scope_spans for span in scope.spans
        ]


def attributes(of: "Span | ResourceSpans") -> dict[str, Value]:
    """Return the attributes of a span, or of the service that sent it."""
    pairs = of.resource.attributes if isinstance(of, ResourceSpans) else of.attributes
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in pairs}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Have a collector until the block ends."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.asked.set()
            if collector.stalled:
                collector.over.wait()
                return
            assert self.path == "/v1/traces"
            collector.resources += ExportTraceServiceRequest.FromString(body).resource_spans
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            collector.over.set()
            server.shutdown()
            thread.join()
