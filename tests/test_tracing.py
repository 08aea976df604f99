"""A span for each call: what it says, and that neither it nor its collector can hold up a call."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import trio
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from service.calls.session import Session
from service.config import ConfigurationError, Settings
from service.server import serve
from tests.peers.collector import attributes, collecting
from tests.peers.logged import entries
from tests.peers.processes import ROOT
from tests.peers.serving import Started, serving, terminate

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SetUp = Callable[[str, str], None]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "PROTOCOL", "TIMEOUT"):
        for signal in ("", "TRACES_"):
            monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{signal}{name}", raising=False)
    monkeypatch.delenv("OTEL_SDK_DISABLED", raising=False)


async def ended(service: Started) -> None:
    terminate()
    with trio.fail_after(5):
        await service.stopped.wait()
    assert service.in_full is True


async def test_a_call_is_a_span_of_its_callers_trace(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("info", "json")
    with collecting() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        async with serving(trusted_proxies="127.0.0.1") as service:
            extra = (
                "User-Agent: a browser\r\nX-Forwarded-For: 192.0.2.1\r\nX-Request-ID: r-1\r\n"
                f"traceparent: 00-{TRACE}-{PARENT}-01\r\n"
            )
            call = await service.call(
                "reply=ulaw&codec=numpy&sample_rate=16000&reply_rate=8000", extra=extra
            )
            await call.ask(bytes(320))
            await call.leave(1001)
            await ended(service)
    [span] = collector.spans
    assert (span.name, span.kind) == ("call", Span.SPAN_KIND_SERVER)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert span.status.code == Status.STATUS_CODE_UNSET
    said = attributes(span)
    started, finished = [line for line in entries(capfd) if "session" in line]
    assert said.pop("network.peer.port")
    assert said == {
        "client.address": "192.0.2.1", "network.peer.address": "127.0.0.1",
        "user_agent.original": "a browser", "rt_audio.request_id": "r-1",
        "session.id": started["session"], "rt_audio.codec": "numpy", "rt_audio.encoding": "pcm16",
        "rt_audio.reply": "ulaw", "rt_audio.sample_rate": 16000, "rt_audio.reply_rate": 8000,
        "rt_audio.dialect": "raw", "rt_audio.outcome": "completed",
        "rt_audio.close_code": 1001, "rt_audio.frames": 1, "rt_audio.bytes": 320,
    }  # fmt: skip
    assert started["trace_id"] == finished["trace_id"] == TRACE
    [resource] = collector.resources
    assert attributes(resource)["service.name"] == "rt-audio"


async def test_without_a_traceparent_a_call_has_a_trace_of_its_own_and_the_log_names_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("info", "json")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "voice")
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
        async with serving() as service:
            for _ in range(2):
                await (await service.call()).leave()
            await ended(service)
    traces = {span.trace_id.hex() for span in collector.spans}
    assert len(traces) == 2
    assert {line["trace_id"] for line in entries(capfd) if "session" in line} == traces
    assert attributes(collector.resources[0])["service.name"] == "voice"


async def test_only_a_bug_of_the_service_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Session, message: bytes) -> bytes:
        raise ZeroDivisionError

    with collecting() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        async with serving() as service:
            odd = await service.call()
            await odd.send(b"abc")
            assert (await odd.hung_up())[0] == 1003
            with monkeypatch.context() as patch:
                patch.setattr(Session, "receive", broken)
                call = await service.call()
                await call.send(b"hi")
                assert (await call.hung_up())[0] == 1011
            await ended(service)
    outcomes = {attributes(span)["rt_audio.outcome"]: span.status.code for span in collector.spans}
    assert outcomes == {"rejected": Status.STATUS_CODE_UNSET, "error": Status.STATUS_CODE_ERROR}


async def test_a_collector_that_stalls_holds_up_neither_a_call_nor_the_exit(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("info", "json")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setattr("service.tracing._FLUSH_SECONDS", 0.1)
    with collecting() as collector:
        collector.stalled = True
        monkeypatch.setenv(ENDPOINT, collector.url)
        async with serving() as service:
            await (await service.call()).leave()
            assert await trio.to_thread.run_sync(collector.asked.wait, 10)
            for _ in range(20):
                call = await service.call()
                assert await call.ask(b"hi") == b"hi"
                await call.leave()
            await ended(service)
    assert entries(capfd, "spans_lost")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({ENDPOINT: "collector:4318"}, f"{ENDPOINT}=collector:4318: must be a URL like http://"),
        (
            {ENDPOINT: "http://collector", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: must be http/protobuf",
        ),
        ({ENDPOINT: "http://collector", "OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "max_queue_size must be"),
    ],
)
async def test_a_wrong_variable_stops_the_start_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message) as caught:
        await serve(Settings(host="127.0.0.1", port=0))
    assert "\n" not in str(caught.value)


async def test_an_endpoint_without_the_packages_stops_the_start_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://collector")
    monkeypatch.delitem(sys.modules, "service.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match=rf"^{ENDPOINT} is set, but .*\[otel\]'$"):
        await serve(Settings(host="127.0.0.1", port=0))


async def test_the_sdks_own_switch_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        async with serving() as service:
            await (await service.call()).leave()
            await ended(service)
    assert not collector.asked.is_set()


def test_without_an_endpoint_nothing_of_it_is_imported() -> None:
    check = "import sys, service.cli, service.server; print('opentelemetry' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "False\n"
