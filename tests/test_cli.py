"""The command line: what it prints and its exit statuses, in this process and as a process."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result
from trio_websocket import ConnectionClosed, WebSocketConnection

import service.server
from service import __version__, cli, codec, logs
from service.audio import wav
from service.audio.resample import Resampler
from service.audio.wav import Audio
from service.client import stream as client
from service.client.backoff import PATIENCE_SECONDS
from service.client.messages import ClosedError
from service.config import Settings
from service.dialects import twilio
from service.dialects.events import Digits, Start
from tests.peers.bots import tone
from tests.peers.processes import ROOT, RT_AUDIO, SERVE, serving, spawn
from tests.peers.reach import Service
from tests.peers.services import Use, closing, talking

SPEECH = ROOT / "tests" / "data" / "speech.wav"
SECOND = Audio(bytes(16000), 8000)
#: The query with which a probe's two seconds of audio take a twelfth of a second.
QUICK = "sample_rate=192000"


def run(*arguments: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(cli.main, arguments, prog_name="rt-audio")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Return the URL of a service that is there for the whole module."""
    with serving() as served:
        yield served.url


def test_version_and_help() -> None:
    assert run("--version").output == f"rt-audio {__version__}\n"
    for arguments in ((), ("serve",), ("stream",), ("probe",)):
        result = run(*arguments, "-h")
        assert (result.exit_code, result.stderr) == (0, "")
        assert "Usage: rt-audio" in result.output


def test_python_dash_m_is_the_command_line() -> None:
    with spawn(*RT_AUDIO, "--version") as process:
        assert process.communicate(timeout=30) == (f"rt-audio {__version__}\n", "")


def test_the_command_line_starts_without_the_server() -> None:
    """Which takes seconds to import, in which --help would be waited for."""
    code = "import service.cli, sys; print({'quart', 'trio', 'rich', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert result.stdout == b"set()\n"


# rt-audio stream


def test_without_the_clients_packages_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['rich'] = None; from service.cli import main; main()"
    with spawn(sys.executable, "-c", code, "stream", SPEECH) as process:
        assert process.communicate(timeout=30) == (
            "",
            "Error: this command needs more packages: pip install 'rt-audio-pipeline[client]'\n",
        )
        assert process.returncode == 1


def rows(output: str) -> dict[str, str]:
    """Return the lines of a report by their names, which two spaces part from the rest."""
    lines = (line.split("  ", 1) for line in output.splitlines())
    return {name: rest.strip() for name, rest in lines}


def test_stream_prints_a_report_and_nothing_on_standard_error(url: str, tmp_path: Path) -> None:
    back = tmp_path / "back.wav"
    result = run("stream", str(SPEECH), "--url", url, "--speed", "100", "--reply", "ulaw",
                 "--codec", "pure_python", "--out", str(back))  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    pcm = wav.read(SPEECH).data
    assert rows(result.stdout)["codec"] == "pure_python"
    assert rows(result.stdout)["frames"] == "822 sent, 822 received"
    assert rows(result.stdout)["bytes"] == f"{len(pcm):,} sent, {len(pcm) // 2:,} received"
    assert rows(result.stdout)["round trip"].startswith("p50 ")
    assert rows(result.stdout)["gaps"].split()[1:4] == ["over", "0.4", "ms;"]
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


def test_stream_sends_the_encoding_asked_for(url: str, tmp_path: Path) -> None:
    back = tmp_path / "back.wav"
    result = run("stream", str(SPEECH), "--url", url, "--speed", "1000", "--frame-ms", "1000",
                 "--encoding", "ulaw", "--out", str(back))  # fmt: skip
    assert result.exit_code == 0
    sent = codec.choose().encode(wav.read(SPEECH).data)
    assert rows(result.stdout)["bytes"] == f"{len(sent):,} sent, {len(sent):,} received"
    assert wav.read(back) == Audio(sent, 8000, "ulaw")


def test_stream_takes_its_own_g711_files(url: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first.wav", tmp_path / "second.wav"
    fast = ("--url", url, "--speed", "1000", "--frame-ms", "1000")
    assert run("stream", str(SPEECH), *fast, "--reply", "alaw", "--out", str(first)).exit_code == 0
    assert run("stream", str(first), *fast, "--out", str(second)).exit_code == 0
    assert second.read_bytes() == first.read_bytes()
    assert run("stream", str(first), *fast, "--encoding", "pcm16", "--reply", "alaw",
               "--out", str(second)).exit_code == 0  # fmt: skip
    assert second.read_bytes() == first.read_bytes(), "A-law survives PCM"


def test_the_query_of_the_url_holds(url: str, tmp_path: Path) -> None:
    back = tmp_path / "back.wav"
    query = "encoding=PCMU&reply=alaw&sample_rate=16000&codec=pure_python"
    result = run("stream", str(SPEECH), "--url", f"{url}?{query}", "--speed", "1000",
                 "--out", str(back))  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    audio, received = wav.read(SPEECH), wav.read(back)
    assert (received.encoding, received.sample_rate) == ("alaw", 16000)
    assert len(received.data) == len(audio.data) // 2
    assert rows(result.stdout)["codec"] == "pure_python"
    frames = -(-len(audio.data) // 2 // 320)
    assert rows(result.stdout)["frames"] == f"{frames} sent, {frames} received", "20 ms at 16 kHz"


@pytest.mark.parametrize(
    ("query", "options", "rate"),
    [
        ("", ("--reply-rate", "16000"), 16000),
        ("?reply_rate=48000", ("--frame-ms", "20000"), 48000),  # one reply of 1.6 MB
    ],
)
def test_the_replies_are_written_at_the_rate_asked_for(
    url: str, tmp_path: Path, query: str, options: tuple[str, str], rate: int
) -> None:
    back = tmp_path / "back.wav"
    result = run("stream", str(SPEECH), "--url", url + query, "--speed", "1000",
                 "--out", str(back), *options)  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    sent, received = wav.read(SPEECH), wav.read(back)
    assert received == Audio(Resampler(8000, rate).convert(sent.data), rate)
    assert received.seconds == sent.seconds


def test_a_rate_that_the_service_does_not_have_is_named_with_those_that_it_has(url: str) -> None:
    line = refused(run("stream", str(SPEECH), "--url", url, "--reply-rate", "9600"))
    assert "reply_rate=9600: must be one of 8000, 11025" in line


def test_an_option_that_contradicts_the_url_is_named_with_it(url: str) -> None:
    line = refused(run("stream", str(SPEECH), "--url", f"{url}?reply=ulaw", "--reply", "alaw"))
    assert line == "Error: the option reply=alaw contradicts reply=ulaw in the URL"


def test_a_slip_in_the_query_of_the_url_is_shown(url: str) -> None:
    result = run("stream", str(SPEECH), "--url", f"{url}?samplerate=8000", "--speed", "1000")
    assert result.exit_code == 0
    assert "samplerate" in rows(result.stdout)["warning"]


def test_a_service_that_does_not_name_its_codec(use: Use) -> None:
    use(closing(1000, 1))
    assert rows(run("stream", str(SPEECH)).stdout)["codec"] == "not said"


def test_a_call_that_ends_early_keeps_its_report_and_its_audio(use: Use, tmp_path: Path) -> None:
    back = tmp_path / "back.wav"
    use(closing(4000, 3))
    result = run("stream", str(SPEECH), "--frame-ms", "10", "--out", str(back))
    assert result.exit_code == 1
    assert rows(result.stdout)["frames"].endswith(" sent, 3 received")
    assert wav.read(back).data == wav.read(SPEECH).data[: 3 * 160]
    assert result.stderr == (
        "Error: the call to ws://localhost:8001/ws/audio was closed with 4000 "
        "after 3 of 1644 replies\n"
    )


def test_a_call_without_one_reply_leaves_the_file_alone(use: Use, tmp_path: Path) -> None:
    back = tmp_path / "back.wav"
    back.write_bytes(b"kept")

    async def hear_and_close(ws: WebSocketConnection) -> None:
        await ws.get_message()
        await ws.aclose(1011)

    use(talking(hear_and_close))
    # The second frame is due long after the service has closed, however slow the machine is.
    result = run("stream", str(SPEECH), "--out", str(back), "--frame-ms", "10000")
    assert result.exit_code == 1
    assert rows(result.stdout)["frames"] == "1 sent, 0 received"
    assert rows(result.stdout)["round trip"] == "no reply came"
    assert "was closed with 1011 after 0 of" in result.stderr
    assert back.read_bytes() == b"kept"


def test_stream_goes_on_when_the_service_is_replaced(tmp_path: Path) -> None:
    sent, back = tmp_path / "sent.wav", tmp_path / "back.wav"
    wav.write(sent, Audio(wav.read(SPEECH).data[: 200 * 320], 8000))
    with serving(RT_AUDIO_DRAIN_SECONDS="0", RT_AUDIO_LOG_LEVEL="debug") as old:
        arguments = ("--url", old.url, "--speed", "4", "--reconnect", "--out", str(back))
        with spawn(*RT_AUDIO, "stream", sent, *arguments) as process:
            old.logged("frame")
            old.process.send_signal(signal.SIGTERM)
            assert old.status() == 0
            with serving(old.port):
                output, notes = process.communicate(timeout=60)
    assert process.returncode == 0
    first, *more = notes.splitlines()
    assert re.fullmatch(
        rf"the call to {old.url} was closed with 1001 \(.+reconnect\) after \d+ of 200 replies; "
        r"trying again in 0\.\d s",
        first,
    )
    assert all("Connection refused; trying again in " in line for line in more)
    report = rows(output)
    row = re.fullmatch(
        r"1; the longest took \d+\.\d ms; frames unanswered: (\d+)", report["reconnects"]
    )
    assert row is not None, report
    unanswered = int(row[1])
    assert report["frames"] == f"200 sent, {200 - unanswered} received"
    lost = len(wav.read(sent).data) - len(wav.read(back).data)
    assert 0 <= lost <= 320 * unanswered


def test_stream_without_a_reconnect_says_so(url: str) -> None:
    result = run("stream", str(SPEECH), "--url", url, "--speed", "1000", "--reconnect")
    assert (result.exit_code, result.stderr) == (0, "")
    assert rows(result.stdout)["reconnects"] == "0; the longest took 0.0 ms; frames unanswered: 0"


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


def test_a_file_that_cannot_be_written_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    back = tmp_path / "none" / "back.wav"
    line = refused(run("stream", str(SPEECH), "--url", "ws://none.invalid/", "--out", str(back)))
    assert line == f"Error: {back} cannot be written: No such file or directory"
    line = refused(
        run("stream", str(SPEECH), "--url", "ws://none.invalid/", "--out", str(tmp_path))
    )
    assert line == f"Error: {tmp_path} cannot be written: Is a directory"


def test_stream_reports_before_it_fails_to_write(use: Use, tmp_path: Path) -> None:
    back = tmp_path / "folder" / "back.wav"
    back.parent.mkdir()

    async def remove_the_folder(ws: WebSocketConnection) -> None:
        back.parent.rmdir()
        await ws.send_message(await ws.get_message())
        await ws.aclose(4000)

    use(talking(remove_the_folder))
    result = run("stream", str(SPEECH), "--frame-ms", "1000", "--out", str(back))
    assert result.exit_code == 1
    assert rows(result.stdout)["frames"].endswith("1 received")
    closed, unwritten = result.stderr.splitlines()
    assert closed.endswith("was closed with 4000 after 1 of 17 replies")
    assert unwritten == f"Error: {back} cannot be written: No such file or directory"


def test_stream_talks_with_a_handler_and_reports_on_the_talk(tmp_path: Path) -> None:
    back = tmp_path / "back.wav"
    with serving(RT_AUDIO_HANDLER="tests.peers.bots:announce") as served:
        result = run("stream", str(SPEECH), "--url", served.url, "--out", str(back))
    assert result.exit_code == 0
    assert result.stderr == 'message: {"heard": 300}\n'
    told = rows(result.stdout)
    assert list(told) == ["codec", "sent", "heard", "cleared", "marks", "messages", "ended"]
    assert told["heard"] == "0.3 s"
    assert told["ended"] == "the service hung up"
    assert wav.read(back) == Audio(tone(0.3), 8000)


# rt-audio stream --dialect


async def a_bot_of_twilios(ws: WebSocketConnection) -> None:
    """Say what the call is, and a tenth of a second of audio; hang up once a key was pressed."""
    half = twilio.DIALECT.service({})
    while True:
        heard = half.hear(await ws.get_message())
        for event in () if isinstance(heard, bytes) else heard:
            match event:
                case Start():
                    about = f"{ws.path}, {event.from_}, {event.to}, {event.parameters['name']}"
                    await ws.send_message(half.audio(bytes(800)))
                    await ws.send_message("{}")
                case Digits(digits):
                    await ws.aclose(1000, f"{about}, {digits}")


def test_a_fake_telephone_calls_and_reports(use: Use, tmp_path: Path) -> None:
    back = tmp_path / "back.wav"
    use(talking(a_bot_of_twilios))
    result = run("stream", str(SPEECH), "--dialect", "twilio", "--from", "+1", "--to", "+2",
                 "--param", "name=Jane=Doe", "--digits", "5", "--out", str(back))  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    told = rows(result.stdout)
    names = ["dialect", "sent", "heard", "cleared", "marks", "messages", "skipped", "ended"]
    assert list(told) == names
    assert told["dialect"] == "twilio, ulaw at 8000 Hz"
    assert told["skipped"].startswith("1 messages; the first: ")
    assert told["ended"] == "the service hung up: /ws/twilio, +1, +2, Jane=Doe, 5"
    assert wav.read(back) == Audio(bytes(800), 8000, "ulaw")


def test_a_fake_telephone_calls_where_the_url_says(use: Use) -> None:
    use(talking(a_bot_of_twilios))
    result = run("stream", str(SPEECH), "--dialect", "twilio", "--url", "ws://bot.test/ws/audio",
                 "--param", "name=", "--digits", "#")  # fmt: skip
    assert rows(result.stdout)["ended"] == "the service hung up: /ws/audio, , , , #"


def test_a_call_that_a_fake_telephone_cannot_make(use: Use) -> None:
    use(closing(1000, 0))
    for option in (("--encoding", "alaw"), ("--sample-rate", "16000")):
        line = refused(run("stream", str(SPEECH), "--dialect", "twilio", *option))
        assert line == "Error: twilio has audio in ulaw at 8000 Hz only"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--dialect", "twillio"], "'twillio' is not one of 'twilio', "),
        (["--dialect", "twilio", "--reply", "ulaw"], "--reply has no use with --dialect."),
        (["--dialect", "twilio", "--reconnect"], "--reconnect has no use with --dialect."),
        (["--param", "a=b"], "--param needs --dialect."),
        (["--sample-rate", "8000"], "--sample-rate needs --dialect."),
        (["--dialect", "twilio", "--param", "=b"], "'=b' is not a name, an equals sign and"),
        (["--digits", "1a"], "a telephone has the keys 0 to 9, *, # and A to D."),
    ],
)
def test_options_that_do_not_fit_are_usage_errors(arguments: list[str], sentence: str) -> None:
    result = run("stream", str(SPEECH), *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr


@pytest.mark.parametrize("option", ["--speed", "--frame-ms"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "fast"])
def test_a_number_that_is_no_pace_is_a_usage_error(option: str, value: str) -> None:
    result = run("stream", str(SPEECH), option, value)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr


def test_a_reply_that_no_wav_file_holds_is_a_usage_error() -> None:
    assert run("stream", str(SPEECH), "--reply", "mp3").exit_code == 2


def test_ctrl_c_ends_a_stream_with_130_its_report_and_its_audio(use: Use, tmp_path: Path) -> None:
    back, closed = tmp_path / "back.wav", []

    async def interrupt_the_third(ws: WebSocketConnection) -> None:
        for _ in range(2):
            await ws.send_message(await ws.get_message())
        await ws.get_message()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(ConnectionClosed, match="code=1000"):
            await ws.get_message()
        closed.append(True)

    use(talking(interrupt_the_third))
    result = run("stream", str(SPEECH), "--out", str(back))
    assert (result.exit_code, result.stderr) == (130, "")
    assert closed
    assert rows(result.stdout)["frames"] == "3 sent, 2 received"
    assert wav.read(back).data == wav.read(SPEECH).data[: 2 * 320]


def test_a_token_may_come_from_the_environment_where_nobody_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("letmein\n")
    monkeypatch.setenv("RT_AUDIO_TOKEN", "letmein")
    with serving(RT_AUDIO_TOKENS_FILE=str(tokens)) as served:
        assert run("stream", str(SPEECH), "--url", served.url, "--speed", "1000").exit_code == 0
        assert run("probe", "--url", f"{served.url}?{QUICK}").exit_code == 0
        assert "HTTP 401" in refused(
            run("stream", str(SPEECH), "--url", served.url, "--token", "other")
        )


# rt-audio probe


def test_probe_prints_its_figures(url: str) -> None:
    result = run("probe", "--url", f"{url}?{QUICK}", "--reply", "ulaw")
    assert (result.exit_code, result.stderr) == (0, "")
    table = rows(result.stdout)
    assert table["target"] == url
    assert table["codec"] == codec.resolve()
    assert re.fullmatch(r"connect \d+\.\d\d, upgrade \d+\.\d\d ms", table["steps"])
    assert re.fullmatch(r"p50 .+, p99 .+, max \d+\.\d\d ms", table["round trip"])
    assert table["frames"] == "5 sent, 5 received, 0 lost"
    assert table["audio"] == "right to the bit"


def test_probe_prints_json_and_writes_metrics(url: str, tmp_path: Path) -> None:
    file = tmp_path / "rt-audio.prom"
    result = run("probe", "--url", f"{url}?{QUICK}", "--json", "--textfile", str(file))
    assert (result.exit_code, result.stderr) == (0, "")
    figures = json.loads(result.stdout)
    assert (figures["target"], figures["failure"], figures["frames_lost"]) == (url, None, 0)
    assert f'rt_audio_probe_success{{target="{url}"}} 1.0' in file.read_text().splitlines()


def test_probe_of_a_service_that_fails_is_status_1_with_its_figures(
    use: Use, tmp_path: Path
) -> None:
    file = tmp_path / "rt-audio.prom"
    use(closing(1011, 2))
    result = run("probe", "--textfile", str(file))
    assert result.exit_code == 1
    assert " sent, 2 received, " in rows(result.stdout)["frames"]
    assert "audio" not in rows(result.stdout)
    assert result.stderr == (
        "Error: the call to ws://localhost:8001/ws/audio was closed with 1011 "
        "after 2 of 100 replies\n"
    )
    assert 'rt_audio_probe_success{target="ws://localhost:8001/ws/audio"} 0.0' in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--url", "http://localhost/"], "is not a WebSocket address"),
        (["--token", "a b"], "the token cannot be sent"),
        (["--timeout", "nan"], "nan is not a finite number"),
    ],
)
def test_a_probe_that_cannot_be_made_is_status_2(arguments: list[str], sentence: str) -> None:
    result = run("probe", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr


def test_a_probe_whose_metrics_cannot_be_written_is_status_2(url: str, tmp_path: Path) -> None:
    file = tmp_path / "none" / "rt-audio.prom"
    result = run("probe", "--url", f"{url}?{QUICK}", "--textfile", str(file))
    assert result.exit_code == 2
    assert result.stderr == f"Error: {file} cannot be written: No such file or directory\n"


def test_ctrl_c_ends_a_probe_with_130_and_nothing_else() -> None:
    with serving(RT_AUDIO_LOG_LEVEL="debug") as served:
        with spawn(*RT_AUDIO, "probe", "--url", served.url) as process:
            served.logged("frame")
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=10) == ("", "")
        assert process.returncode == 130
        assert served.logged("session_ended")["outcome"] in ("completed", "aborted")


# rt-audio serve, in this process

SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip


@pytest.fixture
def logs_set_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Have this process's signals and logs as they were; return what the logs were to be."""
    given: list[object] = []
    monkeypatch.setattr(logs, "set_up", lambda *arguments: given.append(arguments))
    for name in os.environ:
        if name.startswith("RT_AUDIO_"):
            monkeypatch.delenv(name)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield given
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, logs_set_up: list[object]) -> list[object]:
    """Stand in for the server: a list of what it was given, and at its end what it does."""
    given: list[object] = []

    async def serve(settings: Settings, task_status: trio.TaskStatus[int]) -> bool:
        outcome = given.pop()
        given.append(settings)
        if isinstance(outcome, signal.Signals):
            signal.raise_signal(outcome)
        if isinstance(outcome, BaseException):
            raise outcome
        return bool(outcome)

    monkeypatch.setattr(service.server, "serve", serve)
    return given


def test_options_come_before_the_environment(
    served: list[object], logs_set_up: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RT_AUDIO_PORT", "1")
    monkeypatch.setenv("RT_AUDIO_HOST", "example.com")
    monkeypatch.setenv("RT_AUDIO_LOG_FORMAT", "json")
    served.append(True)
    result = run("serve", "--port", "2", "--log-level", "ERROR")
    assert (result.exit_code, result.output) == (0, "")
    [settings] = served
    assert logs_set_up == [("error", "json")]
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


@pytest.mark.parametrize("harmless", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_to_reload_or_log_more_does_not_end_the_start(
    served: list[object], harmless: object
) -> None:
    served.append(harmless)
    assert run("serve").exit_code == 0
    assert len(served) == 1


@pytest.mark.parametrize(
    "early", [signal.SIGTERM, signal.SIGQUIT, BaseExceptionGroup("", [SystemExit(0)])]
)
def test_sigterm_before_anything_listens_ends_it_with_0(
    served: list[object], early: object
) -> None:
    served.append(early)
    result = run("serve")
    assert (result.exit_code, result.output) == (0, "")


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


def test_a_wrong_variable_is_one_line_and_status_2(
    served: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RT_AUDIO_PORT", "eighty")
    result = run("serve")
    line = "Error: RT_AUDIO_PORT=eighty: must be a whole number from 0 to 65535\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", line)


def test_a_port_that_is_taken_is_one_line_and_status_2(logs_set_up: list[object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = run("serve", "--host", "127.0.0.1", "--port", str(port))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: RT_AUDIO_HOST=127.0.0.1 RT_AUDIO_PORT={port}: "
        "cannot listen there: Address already in use\n"
    )


# rt-audio serve, as a process


@pytest.mark.parametrize(("form", "ending"), [("console", "SIGINT"), ("json", "SIGTERM")])
def test_a_terminal_gets_a_url_to_click_unless_its_log_is_json(form: str, ending: str) -> None:
    """With nobody on the line either signal ends it with 0."""
    ours, theirs = os.openpty()
    with spawn(*SERVE, 0, stderr=theirs, RT_AUDIO_LOG_FORMAT=form) as process:
        os.close(theirs)
        output = b""
        while b"version" not in output:
            output += os.read(ours, 4096)
        # The service takes the signal after it has said where it is.
        process.send_signal(signal.Signals[ending])
        with suppress(OSError):  # at the end of a terminal
            while more := os.read(ours, 4096):
                output += more
        assert process.wait() == 0
    os.close(ours)
    found = re.findall(rb"Open http://127\.0\.0\.1:\d+/ in a browser", output)
    assert len(found) == (form == "console")
    assert len(re.findall(rb"url.*http://127\.0\.0\.1:\d+/", output)) == 1


def test_a_terminal_that_hangs_up_drains_what_runs_in_it() -> None:
    ours, theirs = os.openpty()
    with spawn(*SERVE, 0, stderr=theirs) as process:
        os.close(theirs)
        output = b""
        while b"Ctrl-C" not in output:
            output += os.read(ours, 4096)
        # The kernel hangs up on the processes of a terminal; this one is not theirs.
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        try:
            assert process.wait(10) == 0
        finally:
            process.kill()


async def test_a_second_signal_during_a_stream_forces_the_end_with_1() -> None:
    with serving() as served:

        def stop(done: int, total: int) -> None:
            if done == 5:
                served.process.send_signal(signal.SIGTERM)
                # The service must have taken the first signal; the system would merge the two.
                assert served.logged("draining")["sessions"] == 1
                served.process.send_signal(signal.SIGTERM)

        with trio.fail_after(10), pytest.raises(ClosedError, match="1001") as end:
            await client.Stream(SECOND, served.url, on_reply=stop).run()
        assert "reconnect" in end.value.reason
        assert served.logged("session_ended")["outcome"] == "drained"
        assert served.status() == 1


async def test_ctrl_c_while_the_last_call_is_closed_ends_it_with_1() -> None:
    with serving(RT_AUDIO_DRAIN_SECONDS="0") as served:
        stream = await Service(served.port).upgraded()
        served.process.send_signal(signal.SIGTERM)
        with trio.fail_after(10):
            await stream.receive_some()  # a close frame; the service waits for the answer
        served.process.send_signal(signal.SIGINT)
        assert served.status() == 1
        await stream.aclose()
