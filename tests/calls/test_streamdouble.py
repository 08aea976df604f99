"""Calls by streamdouble, a double of Twilio Media Streams that others wrote; it judges us too."""

import json
import sys
import wave
from pathlib import Path
from typing import Any

import trio

from service import codec
from service.handlers import Call, Digits
from tests.peers import stand_in
from tests.peers.serving import serving

DOUBLE = Path(sys.executable).with_name("streamdouble")
SPEECH = Path(__file__).parents[1] / "data/speech.wav"
BARGE_IN = """
steps:
  - wait_for: audio
  - wait: 0.6
  - expect: no clear
  - dtmf: "1"
  - wait_for: clear
  - expect: clear
  - wait_for: mark
  - expect: mark
  - expect: no_violations
"""


async def streamdouble(*arguments: str) -> tuple[int, Any]:
    """Return the exit status and the report; 3 is a violation of Twilio's protocol."""
    done = await trio.run_process(
        [DOUBLE, *arguments, "--json"], capture_stdout=True, capture_stderr=True, check=False
    )
    return done.returncode, json.loads(done.stdout)


async def test_the_echo_of_a_second_of_speech_is_exact(tmp_path: Path) -> None:
    with wave.open(str(SPEECH)) as speech, wave.open(str(tmp_path / "in.wav"), "wb") as second:
        second.setparams(speech.getparams())
        pcm = speech.readframes(8000)
        second.writeframes(pcm)
    async with serving(dialects="twilio") as service:
        url = f"ws://127.0.0.1:{service.port}/ws/twilio"
        audio = ("--audio", str(tmp_path / "in.wav"), "--out", str(tmp_path / "out.wav"))
        status, report = await streamdouble("call", url, *audio, "--quiet-period", "0.3")
        await service.metric_becomes(
            'rt_audio_sessions_total{dialect="twilio",outcome="completed"}', 1
        )
    assert status == 0, report
    law = codec.choose(law="ulaw")
    with wave.open(str(tmp_path / "out.wav")) as back:
        assert back.readframes(8000) == law.decode(law.encode(pcm))


async def test_a_key_interrupts_a_bot_and_the_double_finds_no_violation(tmp_path: Path) -> None:
    heard: list[int] = []

    async def bot(call: Call) -> None:
        assert call.parameters["From"] == "+4930123" == call.from_
        await call.play(b"\1\2" * 8000 * 4, rate=8000)
        async for event in call.events():
            if isinstance(event, Digits):
                heard.append(call.clear())
                break
        await call.play(b"\1\2" * 4000, rate=8000)
        await call.heard()

    (tmp_path / "barge_in.yaml").write_text(BARGE_IN)
    async with serving(handler=stand_in.put(bot)) as service:
        url = f"ws://127.0.0.1:{service.port}/ws/twilio"
        scenario = str(tmp_path / "barge_in.yaml")
        status, report = await streamdouble("scenario", scenario, url, "--param", "From=+4930123")
    assert status == 0, report
    assert 400 <= heard[0] <= 1600, "0.6 s and what a busy machine adds"
