"""What is known of each telephony provider for people: what its calls are, and who documents them.

Its messages are the provider's own. So they are described by their kinds only, and by the name of
the document that has them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from service.dialects.half import Dialect
from service.web.openapi import Answer, failed, one_of
from service.web.vouching import PROOFS

#: The kinds of messages.
MESSAGES: dict[str, dict[str, Any]] = {
    "provider_event": {
        "name": "provider_event",
        "summary": "text: a JSON object, as the provider's documentation has it",
        "contentType": "application/json",
        "payload": {"type": "object"},
    },
    "provider_text": {
        "name": "provider_text",
        "summary": "text: JSON or plain, as the provider's documentation has it",
        "contentType": "text/plain",
        "payload": {"type": "string"},
    },
    "provider_audio": {
        "name": "provider_audio",
        "summary": "binary: samples of the encoding that the start has named",
        "contentType": "application/octet-stream",
        "payload": {"type": "string", "format": "binary"},
    },
}
_JSON = ("provider_event",)
_JSON_AND_AUDIO = ("provider_event", "provider_audio")
_TEXT_AND_AUDIO = ("provider_text", "provider_audio")


class Provider(NamedTuple):
    """What calls, the name and the address of its documentation, and the kinds of its messages."""

    calls: str
    documentation: str
    url: str
    heard: tuple[str, ...]
    said: tuple[str, ...]


PROVIDERS: Mapping[str, Provider] = {
    "twilio": Provider(
        "Twilio Media Streams", "Media Streams - WebSocket Messages",
        "https://www.twilio.com/docs/voice/media-streams/websocket-messages", _JSON, _JSON,
    ),
    "exotel": Provider(
        "Exotel AgentStream", "WebSocket protocol",
        "https://developer.exotel.com/docs/agentstream/websocket-protocol", _JSON, _JSON,
    ),
    "telnyx": Provider(
        "Telnyx media streaming", "Stream call media over WebSocket",
        "https://developers.telnyx.com/api-reference/websockets/stream-call-media-over-websocket",
        _JSON, _JSON,
    ),
    "plivo": Provider(
        "Plivo audio streaming", "Audio Streaming",
        "https://plivo.com/docs/voice/xml/audio-streaming", _JSON, _JSON,
    ),
    "vonage": Provider(
        "Vonage Voice", "WebSockets",
        "https://developer.vonage.com/en/voice/voice-api/guides/websockets",
        _JSON_AND_AUDIO, _JSON_AND_AUDIO,
    ),
    "jambonz": Provider(
        "jambonz, by its verb listen", "Listen",
        "https://docs.jambonz.org/verbs/verbs/listen", _JSON_AND_AUDIO, _JSON_AND_AUDIO,
    ),
    "freeswitch": Provider(
        "FreeSWITCH, by mod_audio_stream", "README of mod_audio_stream",
        "https://github.com/amigniter/mod_audio_stream", _TEXT_AND_AUDIO, _JSON,
    ),
    "asterisk": Provider(
        "Asterisk, by chan_websocket", "Channel Drivers: WebSocket",
        "https://docs.asterisk.org/Configuration/Channel-Drivers/WebSocket",
        _TEXT_AND_AUDIO, _TEXT_AND_AUDIO,
    ),
}  # fmt: skip


def call_of(dialect: Dialect, answers: Mapping[int, Answer]) -> tuple[str, Mapping[int, Answer]]:
    """Return the summary and the answers of a dialect's endpoint, by those of /ws/audio."""
    proof = PROOFS[dialect.name]
    return f"A call of {PROVIDERS[dialect.name].calls}, by upgrade to a WebSocket (RFC 6455)", {
        **answers,
        101: Answer("the call begins; /asyncapi.json says whose messages are spoken",
                    media_types=(), headers=("RT-Audio-Session",)),
        400: failed("no upgrade by RFC 6455", "abandoned", "bad_handshake"),
        401: failed(f"{proof.needed}, where this dialect has secrets; else a token",
                    "unauthorized", headers=("WWW-Authenticate",)),
    }  # fmt: skip


def channels(dialects: Iterable[Dialect]) -> dict[str, Any]:
    """Return the AsyncAPI channel of each dialect."""
    return {dialect.name: _channel(dialect) for dialect in dialects}


def operations(dialects: Iterable[Dialect]) -> dict[str, Any]:
    """Return the AsyncAPI operations of each dialect: what is heard, and what is said."""
    found = {}
    for name in (dialect.name for dialect in dialects):
        provider = PROVIDERS[name]
        for verb, action, kinds in (
            ("hear", "receive", provider.heard),
            ("speak", "send", provider.said),
        ):
            found[f"{verb}_{name}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{name}"},
                "summary": f"{provider.calls}: what the service {verb}s.",
                "messages": [{"$ref": f"#/channels/{name}/messages/{kind}"} for kind in kinds],
            }
    return found


def _channel(dialect: Dialect) -> dict[str, Any]:
    provider = PROVIDERS[dialect.name]
    binding: dict[str, Any] = {"method": "GET", "bindingVersion": "0.1.0"}
    if dialect.subprotocols:
        offered = {"Sec-WebSocket-Protocol": one_of(*dialect.subprotocols)}
        binding["headers"] = {"type": "object", "properties": offered}
    return {
        "address": f"/ws/{dialect.name}",
        "title": provider.calls,
        "description": f"Calls of {provider.calls}. The messages are those of its documentation, "
        f'"{provider.documentation}". Where this dialect has secrets, '
        f"{PROOFS[dialect.name].needed}.",
        "externalDocs": {"description": provider.documentation, "url": provider.url},
        "messages": {
            kind: {"$ref": f"#/components/messages/{kind}"}
            for kind in dict.fromkeys(provider.heard + provider.said)
        },
        "bindings": {"ws": binding},
    }
