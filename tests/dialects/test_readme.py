"""README.md's chapter on telephones: its table, and what it says to paste at each provider."""

import configparser
import json
import re
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import pytest
from plivo import plivoxml
from twilio.twiml.voice_response import Connect, VoiceResponse

from service.dialects.book import DIALECTS
from service.dialects.events import Digits, Format, Start
from service.web.vouching import PROOFS, Claim, Vouching
from tests.peers.printed import blocks, chapter, readme

CHAPTER = chapter("## Answer a telephone")
NAMES = {"twilio": "Twilio", "freeswitch": "FreeSWITCH", "jambonz": "jambonz"}
SECTIONS = {name: chapter(f"### {NAMES.get(name, name.title())}") for name in DIALECTS}
ROWS = {
    row[0]: row[1].split(" | ")
    for row in re.findall(r"^\| \[`(\w+)`\]\(#\1\) \| (.*) \|$", CHAPTER, re.MULTILINE)
}
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
URL = re.compile(r'wss://[^\s"<]+')


def pasted_urls(dialect: str) -> list[str]:
    """Return the URLs of the service in a section's blocks, as their provider reads them."""
    printed = "".join(blocks(SECTIONS[dialect])).replace("&amp;", "&")
    return URL.findall(printed)


def test_every_block_is_whole() -> None:
    languages = re.findall(r"^```(\w+)$", CHAPTER, re.MULTILINE)
    assert set(languages) == {"python", "sh", "xml", "json", "ini", "text"}
    for block in blocks(CHAPTER, "xml"):
        ElementTree.fromstring(block)
    for block in blocks(CHAPTER, "json"):
        json.loads(block)
    for block in blocks(CHAPTER, "ini"):
        configparser.ConfigParser(delimiters="=", interpolation=None).read_string(block)
    for block in blocks(CHAPTER, "python"):
        compile(block, "README.md", "exec")


def test_the_table_has_every_dialect() -> None:
    assert set(ROWS) == set(DIALECTS)


@every_dialect
def test_a_row_says_what_a_dialect_can(dialect: str) -> None:
    _, audio, messages, marks, clear, keys, _, proof = ROWS[dialect]
    known = DIALECTS[dialect]
    usual = Start(known.formats[0], known.formats[0])
    half, peer = known.service({}), known.peer(usual)
    assert (marks != "no") == half.marks
    assert (clear != "no") == half.clears
    if not peer.say(Digits("1")):
        assert keys == "no"
    else:
        assert keys == ("both ways" if half.say(Digits("1")) else "to you")
    laws = {"mu-law": "ulaw", "A-law": "alaw"}
    encodings = {each.encoding for each in known.formats}
    assert {law for name, law in laws.items() if name in audio} == encodings - {"pcm16"}
    _, _, linear = re.split("(L16|slin)", audio) if "pcm16" in encodings else ("", "", "")
    told = [int(number) for number in re.findall(r"\d+", linear)]
    rates = sorted({each.rate // 1000 for each in known.formats if each.encoding == "pcm16"})
    assert told == ([rates[0], rates[-1]] if " to " in linear else rates)
    assert all(f"`{name}`" in messages for name in known.subprotocols[:1])
    assert (proof == "password") == PROOFS[dialect].user_and_password
    assert (proof == "signature") == PROOFS[dialect].signs_url


@every_dialect
def test_a_section_has_what_to_paste_and_its_url_is_the_endpoints(dialect: str) -> None:
    urls = pasted_urls(dialect)
    assert urls
    for url in urls:
        assert urlsplit(url).hostname == "voice.example.com"
        assert urlsplit(url).path == f"/ws/{dialect}"
    section = SECTIONS[dialect]
    assert f"in the file `{dialect}`" in section
    assert ("RT_AUDIO_PUBLIC_URL=wss://voice.example.com`" in section) == PROOFS[dialect].signs_url
    assert "- Verified " in section


def pasted_password(dialect: str) -> str:
    """Return user and password as a section's blocks have them."""
    section = SECTIONS[dialect]
    match dialect:
        case "exotel":
            [url] = pasted_urls(dialect)
            return urlsplit(url).netloc.partition("@")[0]
        case "asterisk":
            conf = configparser.ConfigParser()
            conf.read_string(blocks(section, "ini")[0])
            return "{username}:{password}".format(**conf["rt-audio"])
        case "jambonz":
            return "{username}:{password}".format(**jambonz()["wsAuth"])
    raise AssertionError(f"{dialect} has no user")


def jambonz() -> dict[str, Any]:
    [verbs] = blocks(SECTIONS["jambonz"], "json")
    listen: dict[str, Any] = json.loads(verbs)[0]
    return listen


def freeswitch() -> dict[str, str]:
    """Return the variables that the dialplan sets."""
    [extension] = blocks(SECTIONS["freeswitch"], "xml")
    actions = ElementTree.fromstring(extension).iter("action")
    data = [each.get("data", "") for each in actions if each.get("application") == "set"]
    return dict(each.split("=", 1) for each in data)


@pytest.mark.parametrize("dialect", [name for name in PROOFS if PROOFS[name].user_and_password])
def test_what_is_pasted_proves_itself_by_the_line_that_the_section_names(dialect: str) -> None:
    [line] = re.findall(rf"^- Proof: `(\S+)` in the file `{dialect}`", SECTIONS[dialect], re.M)
    if dialect == "freeswitch":
        header = json.loads(freeswitch()["STREAM_EXTRA_HEADERS"])["Authorization"]
    else:
        header = f"Basic {b64encode(pasted_password(dialect).encode()).decode()}"
    claim = Claim(dialect, f"/ws/{dialect}", b"", [(b"authorization", header.encode())])
    assert Vouching({dialect: [line.encode()]}, None).vouches(claim)


def test_twilios_xml_is_what_its_own_package_makes() -> None:
    connect = Connect()
    stream = connect.stream(url="wss://voice.example.com/ws/twilio")
    stream.parameter(name="From", value="{{From}}")
    stream.parameter(name="To", value="{{To}}")
    response = VoiceResponse()
    response.append(connect)
    response.hangup()
    assert canonical(blocks(SECTIONS["twilio"], "xml")) == canonical([str(response)])


def test_plivos_xml_is_what_its_own_package_makes() -> None:
    response = plivoxml.ResponseElement()
    response.add(
        plivoxml.StreamElement(
            "wss://voice.example.com/ws/plivo",
            bidirectional=True,
            keepCallAlive=True,
            contentType="audio/x-mulaw;rate=8000",
            extraHeaders="From=15550100,To=15550199",
        )
    )
    response.add(plivoxml.HangupElement())
    assert canonical(blocks(SECTIONS["plivo"], "xml")) == canonical([response.to_string()])


def canonical(documents: list[str]) -> list[str]:
    return [ElementTree.canonicalize(each, strip_text=True) for each in documents]


def test_telnyxs_query_says_what_its_body_asks_for() -> None:
    body = json.loads(blocks(SECTIONS["telnyx"], "json")[0])
    assert (body["stream_bidirectional_codec"], body["stream_codec"]) == ("L16", "L16")
    begins_as("telnyx", body["stream_url"], body["stream_bidirectional_sampling_rate"])


def test_freeswitchs_query_says_what_its_command_asks_for() -> None:
    command, _, _, url, mix, rate = freeswitch()["api_on_answer"].split(" ")
    assert (command, mix) == ("uuid_audio_stream", "mono")
    assert {name for name, _ in parse_qsl(urlsplit(url).query)} >= {"from", "to", "uuid"}
    begins_as("freeswitch", url, int(rate.removesuffix("k")) * 1000)


def test_jambonz_plays_at_the_rate_that_it_tells() -> None:
    listen = jambonz()
    assert listen["bidirectionalAudio"]["sampleRate"] == listen["sampleRate"]
    begins_as("jambonz", listen["url"], listen["sampleRate"])


def begins_as(dialect: str, url: str, rate: int) -> None:
    """Have a stream of PCM16 begin at a URL, and see both ways at this rate."""
    audio = Format("pcm16", rate)
    half = DIALECTS[dialect].service(dict(parse_qsl(urlsplit(url).query)))
    begin = Start(audio, audio, stream_id="1", call_id="1")
    said = [half.hear(message) for message in DIALECTS[dialect].peer(begin).say(begin)]
    [start] = [event for events in said for event in events]
    assert isinstance(start, Start)
    assert (start.heard, start.played) == (audio, audio)


def test_the_readme_leads_to_every_section() -> None:
    for anchor in re.findall(r"\]\(#([\w-]+)\)", readme()):
        headings = re.findall(r"^#+ (.*)$", readme(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}
        assert anchor in anchors
