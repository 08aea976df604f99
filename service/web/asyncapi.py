"""AsyncAPI 3: what goes over /ws/audio, in calls that the echo answers and in two-way calls.

The endpoints of telephony providers are described where they are on, by providers.py.

THE schemas of the text messages stand here. A test holds them against a running service: what it
says is as they say, and what they allow it takes.
"""

import json
from collections.abc import Collection
from typing import Any

from quart import Response
from quart_trio import QuartTrio

from service import __version__, codec
from service.audio.encodings import ENCODING_NAMES, ENCODINGS
from service.audio.rates import RATES
from service.calls.terms import LEADS, PARAMETERS, SAMPLE_RATES
from service.dialects.half import Dialect
from service.web import providers
from service.web.openapi import FLAG, TEXT, Answer, Schema, described, one_of

#: What a telephone's keys are (ITU-T Q.23).
_DIGITS: Schema = {"type": "string", "pattern": "^[0-9*#A-D]*$"}
_MILLISECONDS: Schema = {"type": "number", "minimum": 0, "maximum": 1e12}
_ENCODING = one_of(*ENCODING_NAMES)


def _range(numbers: range, default: int | None = None) -> Schema:
    schema = {"type": "integer", "minimum": numbers[0], "maximum": numbers[-1]}
    return schema if default is None else schema | {"default": default}


_QUERY: dict[str, tuple[str, Schema]] = {
    "encoding": ("what you send", {**_ENCODING, "default": "pcm16"}),
    "reply": ("what you get, by default as `encoding`", _ENCODING),
    "codec": ("who transcodes, by default the best there is", one_of(*codec.ORDER)),
    "sample_rate": ("samples a second that you send", _range(SAMPLE_RATES, 8000)),
    "reply_rate": ("samples a second that you get, by default as `sample_rate`",
                   {"type": "integer", "enum": list(RATES)}),
    "channels": ("audio is mono", {"const": "1"}),
    "events": ("have the service send text messages too", {"const": "json"}),
    "live": ("two-way calls: audio that comes late is of no use", {"const": "true"}),
    "lead": ("two-way calls: how many milliseconds ahead of the clock audio is sent",
             _range(LEADS, 40)),
    "access_token": ("a token, where the service wants one", TEXT),
}  # fmt: skip


def _event(kind: str, summary: str, **properties: Schema) -> dict[str, Any]:
    """Return the message of an event; later versions may add members."""
    members: dict[str, Schema] = {"type": {"const": kind}, **properties}
    payload = {"type": "object", "properties": members, "required": list(members)}
    return {"name": kind, "summary": summary, "contentType": "application/json", "payload": payload}


def _audio(summary: str) -> dict[str, Any]:
    return {
        "name": "audio",
        "summary": summary,
        "contentType": "application/octet-stream",
        "payload": {"type": "string", "format": "binary"},
    }


#: All messages of /ws/audio, both ways.
MESSAGES = {
    "audio": _audio("binary: samples of the encoding that was agreed on, of any length"),
    "started": _event(
        "started", "the first message: the session's id and its terms", id=TEXT,
        handler={**FLAG, "description": "whether it is a two-way call"},
        codec=one_of(*codec.ORDER), encoding=one_of(*ENCODINGS), reply=one_of(*ENCODINGS),
        sample_rate=_range(SAMPLE_RATES), reply_rate=_range(SAMPLE_RATES),
    ),
    "mark": _event(
        "mark", "a place in the audio; to be sent back when its playing reaches it", name=TEXT
    ),
    "clear": _event(
        "clear", "drop all audio and marks that were not played yet, and answer with `cleared`"
    ),
    "cleared": _event(
        "cleared", "how much of all the call's audio was played, without what was dropped",
        milliseconds=_MILLISECONDS,
    ),
    "digits": _event("digits", "keys of a telephone", digits=_DIGITS),
    "message": _event("message", "the handler's own, any JSON value", message={}),
}  # fmt: skip
#: The events that a caller gets, if it asks for events, and those that it may send to a handler.
TO_CALLER = ("started", "mark", "clear", "digits", "message")
FROM_CALLER = ("mark", "cleared", "digits", "message")


def document(dialects: Collection[Dialect]) -> dict[str, Any]:
    """Return the AsyncAPI document of a listener that has endpoints for these dialects."""
    channel = {"$ref": "#/channels/call"}

    def operation(action: str, summary: str, *names: str) -> dict[str, Any]:
        messages = [{"$ref": f"#/channels/call/messages/{name}"} for name in names]
        return {"action": action, "channel": channel, "summary": summary, "messages": messages}

    query = {
        name: {**schema, "description": description}
        for name, (description, schema) in ((each, _QUERY[each]) for each in PARAMETERS)
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "rt-audio, calls",
            "version": __version__,
            "description": "Calls on this listener. `started` says which kind a call is: the echo "
            "replies to each frame of audio with one, a handler speaks when it wants to. "
            "/openapi.json describes what is HTTP, and how an upgrade is refused.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "call": {
                "address": "/ws/audio",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in MESSAGES},
                "bindings": {
                    "ws": {
                        "method": "GET",
                        "query": {"type": "object", "properties": query},
                        "bindingVersion": "0.1.0",
                    }
                },
            },
            **providers.channels(dialects),
        },
        "operations": {
            "echo": {
                **operation("receive", "The echo: each frame has one reply, in order.", "audio"),
                "reply": {
                    "channel": channel,
                    "messages": [{"$ref": "#/channels/call/messages/audio"}],
                },
            },
            "hear": operation("receive", "A handler hears its caller.", "audio", *FROM_CALLER),
            "speak": operation("send", "A handler speaks to its caller.", "audio", *TO_CALLER),
            **providers.operations(dialects),
        },
        "components": {"messages": MESSAGES | (providers.MESSAGES if dialects else {})},
    }


def publish_messages(app: QuartTrio, dialects: Collection[Dialect]) -> None:
    """Have the app serve the document."""
    page = json.dumps(document(dialects))

    @described("The messages of calls", {200: Answer("an AsyncAPI document", {"type": "object"})})
    async def asyncapi() -> Response:
        return Response(page, content_type="application/json")

    app.get("/asyncapi.json")(asyncapi)
