"""The bots of README.md, run as printed by `rt-audio serve --handler`."""

import json
import math
import re
import shlex
import wave
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import pytest
import trio

from service.audio import wav
from service.audio.resample import Resampler
from tests.peers.callers import Caller, HungUp
from tests.peers.printed import blocks, chapter, readme, write_bots
from tests.peers.processes import ROOT, RT_AUDIO, serving
from tests.peers.reach import Service

FRAME_SECONDS = 0.02
HALF_A_SECOND = bytes(8000)  # of silence, at 8 kHz


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the bots, to be the working directory."""
    write_bots(tmp_path)
    return tmp_path


@asynccontextmanager
async def answered_by(bot: str, folder: Path) -> AsyncIterator[Service]:
    handler = ("--handler", f"{bot}:answer")
    with serving(0, *handler, within=("env", "-C", folder)) as served, trio.fail_after(30):
        service = Service(served.port)
        yield service
        await service.hang_up()
        assert "Traceback" not in "".join(served.log)


def tone(seconds: float, hertz: int, rate: int = 8000) -> bytes:
    """Return a tone as loud as speech."""
    wave = (math.sin(2 * math.pi * hertz * n / rate) for n in range(int(seconds * rate)))
    return array("h", (round(8000 * sample) for sample in wave)).tobytes()


async def heard(caller: Caller, length: int) -> bytes:
    """Return the next audio, of so many bytes or a little more."""
    audio = b""
    while len(audio) < length:
        message = await caller.receive()
        assert isinstance(message, bytes)
        audio += message
    return audio


async def test_the_delayed_echo_is_half_a_second_late_to_within_a_frame(folder: Path) -> None:
    said = tone(0.4, 300)
    frames = [said[start : start + 320] for start in range(0, len(said), 320)]
    sent: list[float] = []
    came: list[float] = []
    async with (
        answered_by("delayed", folder) as service,
        trio.open_nursery() as nursery,
    ):
        caller = await service.call("lead=0")

        async def speak() -> None:
            began = trio.current_time()
            for number, frame in enumerate(frames):
                await trio.sleep_until(began + number * FRAME_SECONDS)
                sent.append(trio.current_time())
                await caller.send(frame)

        nursery.start_soon(speak)
        audio = b""
        while len(audio) < len(HALF_A_SECOND + said):
            audio += await heard(caller, 320)
            came.append(trio.current_time())
    assert audio == HALF_A_SECOND + said
    silent = len(HALF_A_SECOND) // 320
    late = median(back - there for there, back in zip(sent, came[silent:], strict=True))
    assert abs(late - 0.5) <= FRAME_SECONDS


async def test_the_parrot_says_it_back_and_stops_when_spoken_over(folder: Path) -> None:
    short, long, last = (
        tone(seconds, hertz) + HALF_A_SECOND
        for seconds, hertz in ((0.1, 300), (7, 400), (0.1, 500))
    )
    async with answered_by("parrot", folder) as service:
        caller = await service.call()
        await caller.send(short)
        assert await heard(caller, len(short)) == short
        await caller.send(long)  # of which more waits than `play` takes at once
        begin = await heard(caller, 1600)
        await caller.send(last)
        audio = begin + await heard(caller, len(last))
        while not audio.endswith(last):
            audio += await heard(caller, 1)
        begin = audio.removesuffix(last)
        assert long.startswith(begin)
        assert len(begin) < len(tone(2, 400))  # a busy machine may be slow to speak
        await caller.send(short)
        assert await heard(caller, len(short)) == short  # and nothing else before it


async def test_the_announcement_is_heard_at_the_callers_rate_before_it_hangs_up(
    folder: Path,
) -> None:
    pcm = tone(0.5, 440, rate=24000)
    with wave.open(str(folder / "welcome.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24000)
        file.writeframes(pcm)
    resampler = Resampler(24000, 8000)
    announcement = resampler.convert(pcm) + resampler.flush()
    async with answered_by("announcement", folder) as service:
        listener = await service.call()
        began = trio.current_time()
        assert await heard(listener, len(announcement)) == announcement
        assert await listener.hung_up() == (1000, "thank you for listening")
        assert trio.current_time() - began >= 0.5 - 0.1  # the lead, and a frame or two

        teller = await service.call("events=json")
        assert json.loads(await teller.receive())["type"] == "started"
        assert await heard(teller, len(announcement)) == announcement
        mark = await teller.receive()
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.2):  # it has not been heard yet
            await teller.receive()
        await teller.send(mark)
        with pytest.raises(HungUp, match="1000"):
            await teller.receive()


def test_each_command_is_printed_as_a_clone_has_it() -> None:
    printed = "".join(blocks(readme(), "sh"))
    assert set(re.findall(r"(\S*)rt-audio (?:serve|stream|probe)", printed)) == {".venv/bin/"}


PRINTED = "".join(blocks(chapter("## Answer a telephone"), "sh"))
CALLS = re.findall(r"^\.venv/bin/rt-audio (stream .*)$", PRINTED, re.MULTILINE)


async def test_a_fake_telephone_hears_a_beep_and_two_and_is_hung_up(folder: Path) -> None:
    assert ".venv/bin/rt-audio serve --handler keys:answer" in PRINTED
    assert CALLS
    (folder / "tests").symlink_to(ROOT / "tests")
    async with answered_by("keys", folder) as service:
        for call in CALLS:
            await hears_beeps(service, folder, shlex.split(call))


async def hears_beeps(service: Service, folder: Path, arguments: list[str]) -> None:
    dialect = arguments[arguments.index("--dialect") + 1]
    beeps = folder / "beeps.wav"
    here = f"ws://127.0.0.1:{service.port}"
    if "--url" in arguments:
        arguments = [each.replace("ws://localhost:8001", here) for each in arguments]
    else:
        arguments += ["--url", f"{here}/ws/{dialect}"]
    if "--out" not in arguments:
        arguments += ["--out", str(beeps)]
    within = ("env", "-C", str(folder), f"PYTHONPATH={ROOT}")
    done = await trio.run_process([*within, *RT_AUDIO, *arguments], capture_stdout=True)
    assert re.search(rb"^ended +the service hung up$", done.stdout, re.MULTILINE), done.stdout
    assert wav.read(beeps).seconds == pytest.approx(3 * 0.2, abs=0.02), dialect
    beeps.unlink()
