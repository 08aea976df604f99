"""Requests: which of file, option and URL holds, and what is sent."""

from typing import Any
from urllib.parse import parse_qs

import pytest

from service import codec
from service.audio.wav import Audio
from service.client.request import Request, RequestError

URL = "ws://service.test/ws/audio"
PCM = Audio(bytes(range(200)), 8000)
ULAW = Audio(codec.choose().encode(PCM.data), 8000, "ulaw")


def query(request: Request) -> dict[str, str]:
    values = parse_qs(request.address.query, strict_parsing=True)
    return {name: "|".join(each) for name, each in values.items()}


def test_without_options_the_file_says_all() -> None:
    request = Request.make(ULAW, URL)
    assert request.audio == ULAW
    assert (request.reply, request.codec) == ("ulaw", None)
    assert query(request) == {
        "encoding": "ulaw", "reply": "ulaw", "sample_rate": "8000", "events": "json",
    }  # fmt: skip


def test_options_are_asked_for() -> None:
    request = Request.make(PCM, URL, encoding="ulaw", reply="alaw", codec="numpy")
    assert request.audio == ULAW
    assert query(request) == {
        "encoding": "ulaw", "reply": "alaw", "sample_rate": "8000", "codec": "numpy",
        "events": "json",
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["pcm16", "ulaw", "alaw"])
@pytest.mark.parametrize("audio", [PCM, ULAW], ids=lambda audio: audio.encoding)
def test_audio_is_sent_in_the_encoding_asked_for(audio: Audio, encoding: str) -> None:
    pcm = audio.data if audio == PCM else codec.choose().decode(audio.data)
    data = pcm if encoding == "pcm16" else codec.choose(law=encoding).encode(pcm)
    assert Request.make(audio, URL, encoding=encoding).audio == Audio(data, 8000, encoding)


def test_the_query_of_the_url_holds_and_stays_as_it_is() -> None:
    own = "encoding=MuLaw&x=%20&reply=pcma&sample_rate=16000&codec=NumPy&reply=ulaw&events=json"
    request = Request.make(PCM, f"{URL}?{own}")
    assert request.address.query == own
    assert request.audio == Audio(ULAW.data, 16000, "ulaw")
    assert (request.reply, request.codec) == ("alaw", "NumPy"), "the first of two holds"


def test_a_query_of_the_url_is_completed() -> None:
    request = Request.make(PCM, f"{URL}?access_token=secret&encoding=alaw", codec="numpy")
    assert request.reply == "alaw"
    assert query(request) == {
        "access_token": "secret", "encoding": "alaw", "reply": "alaw", "sample_rate": "8000",
        "codec": "numpy", "events": "json",
    }  # fmt: skip


def test_an_option_may_say_the_same_as_the_url() -> None:
    request = Request.make(PCM, f"{URL}?encoding=PCMU&codec=NUMPY", encoding="ulaw", codec="numpy")
    assert (request.audio, request.codec) == (ULAW, "NUMPY")
    assert Request.make(PCM, f"{URL}?codec=numpy", codec="NumPy").codec == "numpy"


@pytest.mark.parametrize("name", ["encoding", "reply", "codec", "reply_rate"])
def test_an_option_that_contradicts_the_url_is_an_error(name: str) -> None:
    options: dict[str, Any] = {name: 8000 if name == "reply_rate" else "ulaw"}
    sentence = f"^the option {name}={options[name]} contradicts {name}=a law in the URL$"
    with pytest.raises(RequestError, match=sentence):
        Request.make(PCM, f"{URL}?{name}=a%1blaw", **options)


def test_the_reply_has_the_rate_that_option_or_url_ask_for_and_else_the_audios() -> None:
    request = Request.make(PCM, URL, reply_rate=16000)
    assert (request.audio.sample_rate, request.reply_rate) == (8000, 16000)
    assert query(request)["reply_rate"] == "16000"
    assert Request.make(PCM, f"{URL}?reply_rate=48000").reply_rate == 48000
    assert Request.make(PCM, f"{URL}?sample_rate=16000").reply_rate == 16000


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("encoding=opus", "^encoding=opus names no encoding; there are pcm16, .*g711_alaw$"),
        ("reply=%0a", "^reply= names no encoding"),
        ("sample_rate=0", "^sample_rate=0 is no number of samples a second$"),
        ("sample_rate=", "^sample_rate= is no number"),
        ("sample_rate=8e3", "^sample_rate=8e3 is no number"),
        ("sample_rate=%D9%A8", "^sample_rate=\u0668 is no number"),
        ("sample_rate=1234567890", "^sample_rate=1234567890 is no number"),
        ("reply_rate=16k", "^reply_rate=16k is no number of samples a second$"),
    ],
)
def test_a_query_that_nothing_can_be_sent_for(asked: str, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence) as error:
        Request.make(PCM, f"{URL}?{asked}")
    assert error.value.retry_after is None
