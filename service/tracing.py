"""A span for each call, by OpenTelemetry, sent with OTLP over HTTP.

The variables of OpenTelemetry's specification (`OTEL_*`) set everything. A thread of its SDK sends
ended spans in batches, never the event loop. So many wait for it as OTEL_BSP_MAX_QUEUE_SIZE says,
2,048 by default; then each further one takes the place of the oldest.

Only a service with an endpoint imports this file; its packages are those of the extra `otel`.
"""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

import trio
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service import __version__, logs

_log = logs.get(__name__)

_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_BATCH = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
#: While the thread encodes a batch, a system call of the event loop may wait 5 ms to go on. The
#: SDK's own 512 spans, 28 ms of work, held up a loop by up to 8 ms; these mostly by under 1 ms, at
#: worst by 4 ms.
_BATCH_SPANS = 64
#: How long the exit may wait for the last spans to be sent, in seconds.
_FLUSH_SECONDS = 1.0

Attributes = Mapping[str, str | int]


class Tracing:
    """The spans of one service and the thread that sends them; close it after the last call."""

    def __init__(self, endpoint: str) -> None:
        """Read the environment, where `endpoint` is the variable that has the collector's URL.

        Raises ValueError, in one line, for a variable that has a wrong value.
        """
        url = urlsplit(os.environ[endpoint])
        if url.scheme not in ("http", "https") or not url.netloc:
            raise ValueError(f"{endpoint}={url.geturl()}: must be a URL like http://localhost:4318")
        for name in _PROTOCOLS:
            if os.environ.get(name) not in (None, "", _PROTOCOL):
                raise ValueError(f"{name}={os.environ[name]}: must be {_PROTOCOL}")
        ours = Resource.create({SERVICE_NAME: "rt-audio", SERVICE_VERSION: __version__})
        self._provider = TracerProvider(
            resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        size = None if os.environ.get(_BATCH) else _BATCH_SPANS
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(), max_export_batch_size=size)
        )
        self._tracer = self._provider.get_tracer("rt-audio", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, traceparent: str | None, attributes: Attributes) -> "CallSpan":
        """Begin the span of a call, as a child of the span that a valid `traceparent` names."""
        carrier = {} if traceparent is None else {"traceparent": traceparent}
        parent = self._propagator.extract(carrier)
        return CallSpan(self._tracer.start_span("call", parent, SpanKind.SERVER, dict(attributes)))

    async def aclose(self) -> None:
        """Send the spans that are left, as far as the collector takes them in a second."""
        with trio.move_on_after(_FLUSH_SECONDS, shield=True) as patience:
            await trio.to_thread.run_sync(self._provider.shutdown, abandon_on_cancel=True)
        if patience.cancelled_caught:
            _log.warning("spans_lost", message="the collector took too long over the last spans")


class CallSpan:
    """The span of one call, until `end`; `trace_id` is that of its parent, if it has one."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.trace_id = format_trace_id(span.get_span_context().trace_id)

    def end(self, attributes: Attributes, *, fault: bool) -> None:
        """End the span; `fault` says that the service itself is to blame."""
        self._span.set_attributes(dict(attributes))
        if fault:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()
