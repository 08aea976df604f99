"""A real recognizer behind the service: words go in at one rate, and come out at its own."""

import json
import subprocess
from pathlib import Path

import pytest
import trio

from service import codec
from service.audio import wav
from service.audio.resample import Resampler
from tests.handlers.recognizing import RATE
from tests.peers.reach import read_head, upgrade_request
from tests.peers.serving import serving

HANDLER = "tests.handlers.recognizing:answer"
WORDS = "please leave a message after the tone"


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the words as a synthesizer of others says them, PCM16 at 16 kHz."""
    pytest.importorskip("pocketsphinx", reason="pip install '.[recognizer]' (.ci/run does)")
    file: Path = tmp_path_factory.mktemp("speech") / "words.wav"
    subprocess.run(["flite", "-voice", "rms", "-t", WORDS, "-o", file], check=True)
    audio = wav.read(file)
    assert (audio.encoding, audio.sample_rate) == ("pcm16", RATE)
    return audio.data


@pytest.mark.integration("flite", "flite")
@pytest.mark.parametrize(
    ("encoding", "rate"), [("pcm16", 16000), ("pcm16", 48000), ("ulaw", 8000), ("alaw", 8000)]
)
async def test_words_are_recognized_through_the_service(
    speech: bytes, encoding: str, rate: int
) -> None:
    resampler = Resampler(RATE, rate) if rate != RATE else None
    pcm = speech if resampler is None else resampler.convert(speech) + resampler.flush()
    audio = pcm if encoding == "pcm16" else codec.tier("numpy", encoding).encode(pcm)
    async with serving(handler=HANDLER) as service:
        with trio.fail_after(60):
            caller = await service.call(f"encoding={encoding}&sample_rate={rate}&events=json")
            assert json.loads(await caller.receive())["type"] == "started"
            for start in range(0, len(audio), 1000):  # no frame of the recognizer's
                await caller.send(audio[start : start + 1000])
            await caller.send(json.dumps({"type": "digits", "digits": "#"}))
            assert json.loads(await caller.receive()) == {"type": "message", "message": WORDS}


async def test_a_handler_gets_no_caller_at_a_rate_that_nothing_resamples() -> None:
    async with serving(handler=HANDLER) as service:
        stream = await service.connect()
        await stream.send_all(upgrade_request("/ws/audio?sample_rate=7999"))
        assert (await read_head(stream)).startswith(b"HTTP/1.1 400 ")
        message = b"sample_rate=7999: must be one of 8000, 11025, 12000"
        assert message in bytes(await stream.receive_some())
