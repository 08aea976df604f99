"""JSON text messages whose kinds are told apart by one member, and base64 inside."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from service.dialects.events import BadMessage, Slip
from service.ending import INVALID_PAYLOAD

Kind = TypeVar("Kind")


def decoded(message: bytes | str, decoder: "msgspec.json.Decoder[Kind]", tag: str) -> Kind:
    """Return the message, whose kind the member `tag` names; raise BadMessage.

    An unknown kind and a wrong member are skipped: providers add both. What is no JSON, and no
    base64, ends the call.
    """
    try:
        return decoder.decode(message)
    except msgspec.ValidationError as error:
        raise _wrong(str(error), tag) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise _no_json() from None


def _no_json() -> BadMessage:
    return BadMessage(Slip.NOT_JSON, "a text message must be JSON", INVALID_PAYLOAD)


def _wrong(error: str, tag: str) -> BadMessage:
    if error.startswith("Invalid value") and error.endswith(f"`$.{tag}`"):
        return BadMessage(Slip.UNKNOWN_EVENT, error)
    if "base64" in error:
        return BadMessage(Slip.BAD_BASE64, error, INVALID_PAYLOAD)
    return BadMessage(Slip.BAD_EVENT, error)


def converted(value: object, kind: type[Kind]) -> Kind:
    """Return JSON that was decoded already as another type; raise BadMessage.

    A number may be a string of digits.
    """
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadMessage(Slip.BAD_EVENT, str(error)) from None


def encoded(value: Any) -> str:
    """Return a value as JSON text; raise BadMessage where a peer has nested it too deep."""
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        raise _no_json() from None


_ANYTHING = msgspec.json.Decoder()
_OBJECT = msgspec.json.Decoder(dict[str, Any])


def anything(message: str) -> Any:
    """Return what a text message says in JSON, or the text itself where it is no JSON."""
    try:
        return decoded(message, _ANYTHING, "")
    except BadMessage:
        return message


def told(message: str) -> dict[str, Any]:
    """Return what a text message says that must be a JSON object; raise BadMessage."""
    return decoded(message, _OBJECT, "")


def strings(members: Mapping[str, Any]) -> dict[str, str]:
    """Return members as parameters: a string as it is, any other value as JSON."""
    return {
        name: value if isinstance(value, str) else encoded(value) for name, value in members.items()
    }


def with_known(parameters: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Return parameters with what is known among them; what is empty is not, and they hold."""
    return {name: value for name, value in known.items() if value} | dict(parameters)
