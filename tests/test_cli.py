"""The command line: what it prints and its exit statuses, in this process and as a process."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner, Result

import service.server
from service import __version__, cli, codec, logs
from service.audio import wav
from service.audio.wav import Audio
from service.client import stream as client
from service.client.backoff import PATIENCE_SECONDS
from service.client.stream import ClosedError
from service.config import Settings

ROOT = Path(__file__).parent.parent
SPEECH = ROOT / "tests" / "data" / "speech.wav"
SECOND = Audio(bytes(16000), 8000)


def run(*arguments: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(cli.main, arguments, prog_name="rt-audio")


def spawn(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
    """Start the command line as a process, with these variables and no other of the service's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RT_AUDIO_")}
    return subprocess.Popen(
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT,
        env=kept | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Served:
    """A `serve` process; its log is read as far as somebody waits for."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.port: int = self.logged("listening")["port"]
        self.url = f"ws://127.0.0.1:{self.port}/ws/audio"

    def logged(self, event: str) -> dict[str, Any]:
        """Return the next log line about this event, once it is there."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            entry: dict[str, Any] = json.loads(line)
            if entry["event"] == event:
                return entry
        raise AssertionError(f"it ended with {self.process.wait()} and no {event}")

    def status(self) -> int:
        """Return the exit status; the process has had its reason to end."""
        return self.process.wait(10)


@contextmanager
def serving(port: int = 0, **variables: str) -> Iterator[Served]:
    """Have a `serve` process for the block."""
    with spawn("serve", "--host", "127.0.0.1", "--port", str(port), **variables) as process:
        try:
            yield Served(process)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Return the URL of a service that is there for the whole module."""
    with serving() as served:
        yield served.url


def test_version_and_help() -> None:
    assert run("--version").output == f"rt-audio {__version__}\n"
    for arguments in ((), ("serve",), ("stream",)):
        result = run(*arguments, "-h")
        assert (result.exit_code, result.stderr) == (0, "")
        assert "Usage: rt-audio" in result.output


def test_python_dash_m_is_the_command_line() -> None:
    with spawn("--version") as process:
        assert process.communicate(timeout=30) == (f"rt-audio {__version__}\n", "")


def test_the_command_line_starts_without_the_server() -> None:
    """Which takes seconds to import, in which --help would be waited for."""
    code = "import service.cli, sys; print({'quart', 'trio', 'rich', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert result.stdout == b"set()\n"


# rt-audio stream


def test_stream_prints_a_report_and_nothing_on_standard_error(url: str, tmp_path: Path) -> None:
    back = tmp_path / "back.wav"
    result = run("stream", str(SPEECH), "--url", url, "--speed", "100", "--reply", "ulaw",
                 "--codec", "pure_python", "--out", str(back))  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    pcm = wav.read(SPEECH).data
    assert rows["codec"].strip() == "pure_python"
    assert rows["frames"].strip() == "822 sent, 822 received"
    assert rows["bytes"].strip() == f"{len(pcm):,} sent, {len(pcm) // 2:,} received"
    assert "round trip  p50 " in result.stdout
    assert rows["gaps"].split()[1:4] == ["over", "0.4", "ms;"]
    assert back.read_bytes().endswith(codec.choose("pure_python").encode(pcm) + b"\0")


def test_stream_writes_pcm16_that_it_can_read(url: str, tmp_path: Path) -> None:
    back = tmp_path / "back.wav"
    result = run("stream", str(SPEECH), "--url", url, "--speed", "1000", "--out", str(back),
                 "--frame-ms", "100")  # fmt: skip
    assert result.exit_code == 0
    assert wav.read(back) == wav.read(SPEECH)


def test_stream_says_when_another_codec_came(url: str) -> None:
    result = run("stream", str(SPEECH), "--url", url, "--speed", "1000", "--frame-ms", "1000",
                 "--codec", "[red]best")  # fmt: skip
    assert f"{codec.resolve()} (asked for: [red]best)" in result.stdout


def test_a_terminal_gets_a_progress_bar(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    monkeypatch.setenv("TERM", "xterm")
    result = run("stream", str(SPEECH), "--url", url, "--speed", "100")
    assert result.exit_code == 0
    assert "speech.wav, 16.4 s" in result.stderr
    assert "━" in result.stderr
    assert "━" not in result.stdout


def test_a_service_that_does_not_name_its_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stream(audio: Audio, url: str, **options: Any) -> client.Report:
        return client.Report(None, 1, 1, 2, b"ab", 20, 1, 1, 1, 1, 0, 0)

    monkeypatch.setattr(client, "stream", stream)
    assert "codec       not said" in run("stream", str(SPEECH)).stdout


def test_stream_goes_on_when_the_service_is_replaced(tmp_path: Path) -> None:
    back = tmp_path / "back.wav"
    with serving(RT_AUDIO_DRAIN_SECONDS="0", RT_AUDIO_LOG_LEVEL="debug") as old:
        arguments = ("--url", old.url, "--speed", "4", "--reconnect", "--out", str(back))
        with spawn("stream", str(SPEECH), *arguments) as process:
            old.logged("frame")
            old.process.send_signal(signal.SIGTERM)
            assert old.status() == 0
            with serving(old.port):
                output, notes = process.communicate(timeout=60)
    assert process.returncode == 0
    first, *more = notes.splitlines()
    assert re.fullmatch(
        rf"the call to {old.url} was closed with 1001 \(.+reconnect\) after \d+ of 822 replies; "
        r"trying again in 0\.\d s",
        first,
    )
    assert all("Connection refused; trying again in " in line for line in more)
    rows = dict(line.split(maxsplit=1) for line in output.splitlines())
    row = re.fullmatch(
        r"1; the longest took \d+\.\d ms; frames unanswered: (\d+)", rows["reconnects"].strip()
    )
    assert row is not None, rows
    unanswered = int(row[1])
    assert rows["frames"].strip() == f"822 sent, {822 - unanswered} received"
    lost = len(wav.read(SPEECH).data) - len(wav.read(back).data)
    assert 0 <= lost <= 320 * unanswered


def test_stream_without_a_reconnect_says_so(url: str) -> None:
    result = run("stream", str(SPEECH), "--url", url, "--speed", "1000", "--reconnect")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert rows["reconnects"].strip() == "0; the longest took 0.0 ms; frames unanswered: 0"


def test_the_help_says_how_long_it_goes_on_trying() -> None:
    text = " ".join(run("stream", "--help").output.split())
    assert f"until {PATIENCE_SECONDS:g} seconds have passed without a reply" in text


def test_a_refusal_that_stays_one_is_not_tried_again(url: str) -> None:
    line = refused(run("stream", str(SPEECH), "--url", f"{url}/none", "--reconnect"))
    assert line.startswith(f"Error: {url}/none refused the upgrade with HTTP 404: ")


def refused(result: Result) -> str:
    """Return the one line of a failure that is not the command line's own."""
    assert result.exit_code == 1
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    return line


def test_stream_of_no_file() -> None:
    assert refused(run("stream", "none.wav")) == (
        "Error: none.wav cannot be read: No such file or directory"
    )


def test_stream_of_another_kind_of_file() -> None:
    line = refused(run("stream", __file__))
    assert line == f"Error: {__file__} is not a mono WAV of 16-bit PCM or G.711: it is no WAV file"


def test_stream_to_nobody() -> None:
    with socket.socket() as bound_but_deaf:
        bound_but_deaf.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{bound_but_deaf.getsockname()[1]}/"
        line = refused(run("stream", str(SPEECH), "--url", url))
    assert line == f"Error: cannot connect to {url}: Connection refused"


def test_stream_to_a_page_that_is_not_there(url: str) -> None:
    line = refused(run("stream", str(SPEECH), "--url", f"{url}/none"))
    assert line.startswith(f"Error: {url}/none refused the upgrade with HTTP 404: ")


def test_stream_with_a_token_that_cannot_be_sent() -> None:
    assert "the token cannot be sent" in refused(run("stream", str(SPEECH), "--token", "a b"))


def test_stream_reports_before_it_fails_to_write(url: str, tmp_path: Path) -> None:
    back = tmp_path / "none" / "back.wav"
    result = run("stream", str(SPEECH), "--url", url, "--speed", "1000", "--frame-ms", "1000",
                 "--out", str(back))  # fmt: skip
    assert result.exit_code == 1
    assert "17 sent, 17 received" in result.stdout
    assert result.stderr == f"Error: {back} cannot be written: No such file or directory\n"


@pytest.mark.parametrize("option", ["--speed", "--frame-ms"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "fast"])
def test_a_number_that_is_no_pace_is_a_usage_error(option: str, value: str) -> None:
    result = run("stream", str(SPEECH), option, value)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr


def test_a_reply_that_no_wav_file_holds_is_a_usage_error() -> None:
    assert run("stream", str(SPEECH), "--reply", "mp3").exit_code == 2


def test_ctrl_c_ends_a_stream_with_130_and_not_a_word() -> None:
    with serving(RT_AUDIO_LOG_LEVEL="debug") as served:
        with spawn("stream", str(SPEECH), "--url", served.url) as process:
            served.logged("frame")  # so the client is past the upgrade, and can say goodbye
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=10) == ("", "")
        assert process.returncode == 130
        assert served.logged("session_ended")["outcome"] == "completed"


# rt-audio serve, in this process


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Stand in for the server: a list of what it was given, and at its end what it does."""
    given: list[object] = []

    async def serve(settings: Settings) -> bool:
        outcome = given.pop()
        given.append(settings)
        if isinstance(outcome, BaseException):
            raise outcome
        return bool(outcome)

    monkeypatch.setattr(service.server, "serve", serve)
    monkeypatch.setattr(logs, "set_up", lambda *arguments: given.insert(0, arguments))
    for name in os.environ:
        if name.startswith("RT_AUDIO_"):
            monkeypatch.delenv(name)
    before = signal.getsignal(signal.SIGTERM)
    yield given
    signal.signal(signal.SIGTERM, before)


def test_options_come_before_the_environment(
    served: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RT_AUDIO_PORT", "1")
    monkeypatch.setenv("RT_AUDIO_HOST", "example.com")
    monkeypatch.setenv("RT_AUDIO_LOG_FORMAT", "json")
    served.append(True)
    result = run("serve", "--port", "2", "--log-level", "ERROR")
    assert (result.exit_code, result.output) == (0, "")
    logging, settings = served
    assert logging == ("error", "json")
    assert isinstance(settings, Settings)
    assert (settings.host, settings.port) == ("example.com", 2)


def test_an_ending_cut_short_is_status_1(served: list[object]) -> None:
    served.append(False)
    assert run("serve").exit_code == 1


@pytest.mark.parametrize(
    "interrupt",
    [KeyboardInterrupt(), BaseExceptionGroup("", [KeyboardInterrupt(), ValueError()])],
)
def test_ctrl_c_before_anything_listens(served: list[object], interrupt: BaseException) -> None:
    served.append(interrupt)
    result = run("serve")
    assert (result.exit_code, result.output) == (130, "")


@pytest.mark.parametrize("wrapped", [False, True])
def test_sigterm_before_anything_listens_ends_it_with_0(
    served: list[object], wrapped: bool
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli._exit_early(signal.SIGTERM, None)
    served.append(BaseExceptionGroup("", [caught.value]) if wrapped else caught.value)
    result = run("serve")
    assert (result.exit_code, result.output) == (0, "")
    assert signal.getsignal(signal.SIGTERM) is cli._exit_early


def test_a_bug_of_ours_is_not_hidden(served: list[object]) -> None:
    bug = ExceptionGroup("", [ValueError("bug")])
    served.append(bug)
    assert run("serve").exception is bug


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--port", "x"], "Error: --port x: must be a whole number from 0 to 65535"),
        (["--log-level", "loud"],
         "Error: --log-level loud: must be debug, info, warning or error"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_one_line_and_status_2(
    served: list[object], arguments: list[str], line: str
) -> None:
    result = run("serve", *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"{line}\n")


# rt-audio serve, as a process


def test_a_wrong_variable_is_one_line_and_status_2() -> None:
    with spawn("serve", RT_AUDIO_PORT="eighty") as process:
        output = process.communicate(timeout=30)
    assert output == ("", "Error: RT_AUDIO_PORT=eighty: must be a whole number from 0 to 65535\n")
    assert process.returncode == 2


def test_a_port_that_is_taken_is_one_line_and_status_2(url: str) -> None:
    port = url.split(":")[2].split("/")[0]
    with spawn("serve", "--host", "127.0.0.1", "--port", port) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert errors == (
        f"Error: RT_AUDIO_HOST=127.0.0.1 RT_AUDIO_PORT={port}: "
        "cannot listen there: Address already in use\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_with_nobody_on_the_line_a_signal_ends_it_with_0(number: signal.Signals) -> None:
    with serving() as served:
        served.process.send_signal(number)
        assert served.logged("draining")["signal"] == number.name
        assert served.status() == 0


async def test_sigterm_lets_a_stream_finish() -> None:
    with serving() as served:

        def drain(done: int, total: int) -> None:
            if done == 5:
                served.process.send_signal(signal.SIGTERM)
                assert served.logged("draining")["sessions"] == 1

        report = await client.stream(SECOND, served.url, speed=5, on_reply=drain)
        assert report.frames_received == 50
        assert served.logged("session_ended")["outcome"] == "completed"
        assert served.status() == 0


async def cut_off(served: Served, first: signal.Signals, *more: signal.Signals) -> None:
    """Stream until the service, sent these signals one after the other, closes with 1001."""

    def stop(done: int, total: int) -> None:
        if done == 5:
            served.process.send_signal(first)
            # Two of the same kind would be one, if the service had not taken the first.
            served.logged("draining")
            for number in more:
                served.process.send_signal(number)

    with trio.fail_after(10), pytest.raises(ClosedError, match="1001") as end:
        await client.stream(SECOND, served.url, speed=0.1, on_reply=stop)
    assert "reconnect" in end.value.reason
    assert served.logged("session_ended")["outcome"] == "drained"


async def test_sigint_closes_a_stream_and_ends_with_0() -> None:
    with serving() as served:
        await cut_off(served, signal.SIGINT)
        assert served.status() == 0


async def test_a_stream_longer_than_the_drain_is_closed_and_the_status_is_0() -> None:
    with serving(RT_AUDIO_DRAIN_SECONDS="0.1") as served:
        await cut_off(served, signal.SIGTERM)
        assert served.status() == 0


async def test_a_second_signal_during_a_stream_forces_the_end_with_1() -> None:
    with serving() as served:
        await cut_off(served, signal.SIGTERM, signal.SIGTERM)
        assert served.status() == 1
