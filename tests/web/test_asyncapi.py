"""The AsyncAPI document: valid, and true of what really goes over /ws/audio."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from service.audio.encodings import SILENCE
from service.calls.terms import BadParameter, Terms
from service.dialects.book import DIALECTS
from service.dialects.events import Alive, Clear, Digits, Mark, Start, Stop
from service.web.asyncapi import FROM_CALLER, MESSAGES, TO_CALLER
from service.web.providers import PROVIDERS
from tests.peers.callers import StreamCaller
from tests.peers.house import House
from tests.peers.serving import serving

ROOT = Path(__file__).parent.parent.parent
PARSER = ROOT / ".venv" / "npm" / "node_modules" / "@asyncapi" / "parser"
#: Prints what AsyncAPI's own parser has against the document on standard input.
JUDGE = f"""
const {{ Parser }} = require({json.dumps(str(PARSER))});
const text = require("fs").readFileSync(0, "utf8");
new Parser().parse(text).then(({{ document, diagnostics }}) =>
  console.log(JSON.stringify({{ found: !!document, diagnostics }})));
"""


async def served_document(*dialects: str) -> Any:
    house = House(dialects=",".join(dialects) or "none")
    response = await house.app.test_client().get("/asyncapi.json")
    assert response.content_type == "application/json"
    return await response.get_json()


@pytest.mark.integration("node", "nodejs")
@pytest.mark.parametrize("dialects", [(), tuple(DIALECTS)], ids=["echo", "telephony"])
async def test_asyncapis_own_parser_finds_no_fault(dialects: tuple[str, ...]) -> None:
    if not PARSER.exists():
        pytest.skip("needs AsyncAPI's parser: make check brings it")
    page = json.dumps(await served_document(*dialects))
    ran = await trio.to_thread.run_sync(
        lambda: subprocess.run(
            ["node", "-e", JUDGE], input=page, capture_output=True, text=True, check=True
        )
    )
    told = json.loads(ran.stdout)
    # Advice, as to name servers and a license, is no fault.
    faults = [each for each in told["diagnostics"] if each["severity"] <= 1]
    assert (told["found"], faults) == (True, [])


@pytest.mark.parametrize("names", [(), ("vonage", "asterisk"), tuple(DIALECTS)])
async def test_the_endpoints_of_dialects_that_are_on_are_described(names: tuple[str, ...]) -> None:
    document = await served_document(*names)
    channels = document["channels"]
    assert [each["address"] for each in channels.values()] == [
        "/ws/audio", *(f"/ws/{name}" for name in DIALECTS if name in names)
    ]  # fmt: skip
    for name in names:
        headers = channels[name]["bindings"]["ws"].get("headers", {"properties": {}})
        offered = headers["properties"].get("Sec-WebSocket-Protocol", {"enum": []})["enum"]
        assert tuple(offered) == DIALECTS[name].subprotocols
        assert channels[name]["externalDocs"]["description"] in channels[name]["description"]
        assert {f"hear_{name}", f"speak_{name}"} <= document["operations"].keys()


@pytest.mark.parametrize("name", DIALECTS)
def test_a_providers_messages_are_of_the_kinds_that_are_described(name: str) -> None:
    audio = DIALECTS[name].formats[0]
    start = Start(audio, audio, "stream-1", "call-1", "+4930123", "+4930456", {"customer": "c 1"})
    provider, service = DIALECTS[name].peer(start), DIALECTS[name].service({})
    frame = SILENCE[audio.encoding] * (audio.rate // 50 * (2 if audio.encoding == "pcm16" else 1))
    heard = [*provider.say(start), provider.audio(frame)]
    heard += [message for event in (Digits("1"), Stop()) for message in provider.say(event)]
    for message in heard:
        service.hear(message)
    said = [service.audio(frame)]
    events = (Mark("m"), Clear(), Alive(), Stop())
    said += [message for event in events for message in service.say(event)]
    for messages, kinds in ((heard, PROVIDERS[name].heard), (said, PROVIDERS[name].said)):
        texts = [message for message in messages if isinstance(message, str)]
        assert (len(texts) < len(messages)) is ("provider_audio" in kinds)
        assert bool(texts) is bool({"provider_event", "provider_text"} & set(kinds))
        for text_message in texts:  # plain text may be JSON, too
            assert isinstance(json.loads(text_message), dict)


async def test_a_parameter_may_have_the_values_that_are_described() -> None:
    channel = (await served_document())["channels"]["call"]
    for name, schema in channel["bindings"]["ws"]["query"]["properties"].items():
        for value in schema.get("enum", [schema.get("const")]):
            if value is not None:
                Terms.parse({name: str(value)}, ("numpy",))
        for value in (schema.get("minimum"), schema.get("maximum")):
            if value is not None:
                Terms.parse({name: str(value)}, ("numpy",))
                beyond = value - 1 if value == schema["minimum"] else value + 1
                with pytest.raises(BadParameter):
                    Terms.parse({name: str(beyond)}, ("numpy",))


def test_the_readme_has_a_row_for_each_event() -> None:
    readme = (ROOT / "README.md").read_text()
    section = readme.partition("### Two-way calls")[2].partition("###")[0]
    rows = re.findall(r"^\| `(\w+)` \| (yes)? ?\| (yes)? ?\|", section, re.MULTILINE)
    assert {name for name, to_caller, _ in rows if to_caller} == set(TO_CALLER)
    assert {name for name, _, from_caller in rows if from_caller} == set(FROM_CALLER)


def is_as_described(message: str, names: tuple[str, ...]) -> str:
    """Assert that a text message is one of these, and return which."""
    event = json.loads(message)
    assert event["type"] in names
    schema: Any = MESSAGES[event["type"]]["payload"]
    jsonschema.validate(event, schema)
    assert set(event) == set(schema["properties"]), "nothing is left undescribed"
    return str(event["type"])


async def text(caller: StreamCaller) -> str:
    """Return the next text message, past the audio."""
    while not isinstance(message := await caller.receive(), str):
        pass
    return message


async def test_what_is_exchanged_is_as_described() -> None:
    """A talk in which each message comes, in both directions."""
    async with serving(handler="tests.peers.bots:interrupted") as service:
        caller = await service.call("events=json")
        told: list[str] = []

        async def hear(*kinds: str) -> None:
            for kind in kinds:
                told.append(is_as_described(message := await text(caller), TO_CALLER))
                assert told[-1] == kind, message

        said: list[str] = []

        async def say(**event: Any) -> None:
            message = json.dumps(event)
            said.append(is_as_described(message, FROM_CALLER))
            await caller.send(message)

        await hear("started")
        assert isinstance(await caller.receive(), bytes)
        await say(type="digits", digits="1#")
        await hear("clear")
        await say(type="cleared", milliseconds=20.5)
        answer = json.loads(await text(caller))
        assert answer["message"] == {"told": "1#", "heard": 20}
        told.append(answer["type"])
        mark = json.loads(await text(caller))
        told.append(is_as_described(json.dumps(mark), TO_CALLER))
        await say(**mark)
        await hear("digits")
        await say(type="message", message=None)
        # The caller has said that it heard the end, so there may be nothing to clear.
        while (kind := is_as_described(message := await text(caller), TO_CALLER)) == "clear":
            pass
        assert (kind, json.loads(message)["message"]["told"]) == ("message", None)
    assert set(told) == set(TO_CALLER)
    assert set(said) == set(FROM_CALLER)


async def test_the_echo_begins_as_described() -> None:
    async with serving() as service:
        caller = await service.call("events=json")
        assert is_as_described(await text(caller), TO_CALLER) == "started"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)  # fmt: skip
EVENTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("mark"), "name": st.text()}, optional={"x": VALUES}),
    st.fixed_dictionaries(
        {"type": st.just("cleared"),
         "milliseconds": st.integers(0, 10**12) | st.floats(0, 1e12)}
    ),
    st.fixed_dictionaries(
        {"type": st.just("digits"), "digits": st.text("0123456789*#ABCD", max_size=20)}
    ),
    st.fixed_dictionaries({"type": st.just("message"), "message": VALUES}),
)  # fmt: skip


async def test_what_a_caller_may_say_is_taken() -> None:
    messages: list[str] = []

    @settings(max_examples=100, database=None)
    @given(EVENTS)
    def gather(event: dict[str, Any]) -> None:
        jsonschema.validate(event, MESSAGES[event["type"]]["payload"])
        messages.append(json.dumps(event))

    gather()
    async with serving(handler="tests.peers.bots:last_words") as service:
        caller = await service.call("events=json")
        for message in messages:
            await caller.send(message)
        await caller.send('{"type": "message", "message": "goodbye"}')
        await text(caller)
        assert json.loads(await text(caller))["message"] == "goodbye"


@pytest.mark.parametrize(
    "event",
    [
        {}, {"type": "mark"}, {"type": "mark", "name": 1}, {"type": "cleared"},
        {"type": "cleared", "milliseconds": "1"}, {"type": "digits", "digits": "x"},
        {"type": "digits", "digits": 1}, {"type": "message"}, {"type": "clear"},
        {"type": "started"}, [], None,
    ],
    ids=json.dumps,
)  # fmt: skip
async def test_what_a_caller_may_not_say_is_refused(event: Any) -> None:
    kind = event.get("type") if isinstance(event, dict) else None
    if kind in FROM_CALLER:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(event, MESSAGES[kind]["payload"])
    async with serving(handler="tests.peers.bots:last_words") as service:
        caller = await service.call()
        await caller.send(json.dumps(event))
        assert (await caller.hung_up())[0] == 1003
