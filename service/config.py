"""Settings: one frozen object, read once from the environment (`RT_AUDIO_*`).

Each field has its unit, its reason and its allowed values, so that an error message and the
README's table say the same. A value outside the bounds can only be a mistake.
"""

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service import codec
from service.bearer import ALPHABET
from service.dialects.book import DIALECTS
from service.dialects.half import Dialect
from service.networks import Networks

PREFIX = "RT_AUDIO_"


class ConfigurationError(Exception):
    """The service cannot start as configured; the message is one line for the operator."""


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    values = tuple(origin.lower() for origin in values)
    for origin in values:
        parts = urlsplit(origin)
        if origin != "*" and not (
            parts.scheme and parts.netloc and origin == f"{parts.scheme}://{parts.netloc}"
        ):
            raise ValueError(f"{origin!r} is not an origin")
    return values


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    Networks(values)
    return values


def _handler(value: str) -> str:
    module, _, function = value.partition(":")
    if value != "echo" and not (
        function.isidentifier() and all(part.isidentifier() for part in module.split("."))
    ):
        raise ValueError("not a handler")
    return value


def _dialects(values: tuple[str, ...]) -> tuple[str, ...]:
    if values == ("none",):
        return ()
    if not set(values) <= set(DIALECTS):
        raise ValueError("not a choice of dialects")
    return values


def _codec_order(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values or not set(values) <= set(codec.ORDER) or len(set(values)) < len(values):
        raise ValueError("not an order of codecs")
    return values


def _setting(default: Any, unit: str, why: str, allowed: str, **bounds: Any) -> Any:
    return Field(
        default, description=why, json_schema_extra={"unit": unit, "allowed": allowed}, **bounds
    )


def _seconds(default: float, why: str, least: float = 0, most: float = 86400) -> Any:
    return _setting(
        default, "seconds", why, f"a number from {least:g} to {most:g}", ge=least, le=most
    )


def _limit(unit: str, why: str) -> Any:
    return _setting(
        0, unit, f"{why}, others get 429; 0 sets no limit", "a whole number from 0 to 100000",
        ge=0, le=100_000,
    )  # fmt: skip


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)]
Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


class Settings(BaseSettings):
    """Everything an operator can set; `Settings.load()` reads and checks the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
    )

    host: str = _setting(
        "0.0.0.0", "address", "the address to listen on; `::` for IPv6", "an address or host name",
        min_length=1,
    )  # fmt: skip
    port: int = _setting(
        8001, "TCP port", "0 lets the system choose", "a whole number from 0 to 65535",
        ge=0, le=65535,
    )  # fmt: skip
    admin_host: str = _setting(
        "127.0.0.1", "address", "the address of the admin listener; whoever reaches it may do all",
        "an address or host name", min_length=1,
    )  # fmt: skip
    admin_port: int | None = _setting(
        None, "TCP port", "listen there for operators; /metrics and the console move there",
        "a whole number from 0 to 65535", ge=0, le=65535,
    )  # fmt: skip
    max_sessions: int = _setting(
        1000, "sessions", "beyond it an upgrade gets 503, so that a pod never drowns",
        "a whole number from 1 to 100000", ge=1, le=100_000,
    )  # fmt: skip
    max_sessions_per_token: int = _limit("sessions", "so many at a time with one name or token")
    max_sessions_per_address: int = _limit("sessions", "so many at a time from one address")
    max_upgrades_per_token: int = _limit(
        "upgrades a second", "so many begin in a second with one name or token"
    )
    max_upgrades_per_address: int = _limit(
        "upgrades a second", "so many begin in a second from one address"
    )
    max_frame_bytes: int = _setting(
        1_048_576, "bytes", "a larger message closes its session with 1009; it bounds memory",
        "a whole number from 2 to 16777216", ge=2, le=16 * 1_048_576,
    )  # fmt: skip
    idle_seconds: float = _seconds(
        300, "no audio for this long closes the session with 1008", least=0.1
    )
    send_timeout_seconds: float = _seconds(
        10, "a peer that takes no reply for this long is dropped", least=0.1, most=600
    )
    ping_seconds: float = _seconds(
        20, "a peer that sends nothing for this long gets a ping; 0 never pings"
    )
    pong_seconds: float = _seconds(
        20, "a pinged peer that stays silent for this long is gone", least=0.1
    )
    drain_notice_seconds: float = _seconds(
        0, "after SIGTERM: not ready, yet still accepting, until load balancers have noticed"
    )
    drain_seconds: float = _seconds(
        30, "after the notice: how long sessions may go on before they are closed with 1001"
    )
    allowed_origins: Annotated[Names, AfterValidator(_origins)] = _setting(
        (), "origins", "browser pages from elsewhere that may connect; `*` for any",
        "a comma-separated list of origins like https://example.com, or *",
    )  # fmt: skip
    trusted_proxies: Annotated[Names, AfterValidator(_networks)] = _setting(
        (), "networks", "proxies whose word about the caller's address counts",
        "a comma-separated list of networks or addresses like 10.0.0.0/8, 2001:db8::/32, 192.0.2.1",
    )  # fmt: skip
    proxy_protocol: bool = _setting(
        False, "switch", "connections from these proxies begin with a PROXY header, v1 or v2",
        "true or false; true needs RT_AUDIO_TRUSTED_PROXIES",
    )  # fmt: skip
    tokens_file: Path | None = _setting(
        None, "path", "a file of bearer tokens, one a line; when set, a session needs one of them",
        f"a readable file with at least one token or name:token; a token has {ALPHABET}",
    )  # fmt: skip
    end_revoked: bool = _setting(
        False, "switch", "end the sessions of a token that has left the file, with 1008",
        "true or false",
    )  # fmt: skip
    secrets_dir: Path | None = _setting(
        None, "path", "a folder of secrets, a file for each dialect; its calls then need one",
        "a readable folder whose files are named like dialects, each with at least one secret",
    )  # fmt: skip
    public_url: str | None = _setting(
        None, "URL", "how providers reach the service; Twilio and Plivo sign it",
        "a URL like wss://voice.example.com or wss://example.com/audio, without a query",
        pattern=r"^wss?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!\"$->@-~]*)?$",
    )  # fmt: skip
    tls_cert_file: Path | None = _setting(
        None, "path", "serve TLS with this certificate chain (PEM)",
        "a certificate chain, given together with the key",
    )  # fmt: skip
    tls_key_file: Path | None = _setting(
        None, "path", "the certificate's private key (PEM)",
        "a private key, given together with the certificate",
    )  # fmt: skip
    handler: Annotated[str, AfterValidator(_handler)] = _setting(
        "echo", "handler", "who answers calls: `echo`, or an async function of your own",
        "echo, or module:function",
    )  # fmt: skip
    dialects: Annotated[Names, AfterValidator(_dialects)] | None = _setting(
        None, "dialects", "whose endpoints there are, like /ws/twilio; by default all, but none "
        "with the echo", "none, or a comma-separated choice of " + ", ".join(DIALECTS),
    )  # fmt: skip
    console: bool = _setting(
        True, "switch", "serve the console, a page to hear and see the service, at /",
        "true or false",
    )  # fmt: skip
    conformance_echo: bool = _setting(
        False, "switch", "offer /ws/echo, which returns any message, to conformance tools",
        "true or false",
    )  # fmt: skip
    codec_order: Annotated[Names, AfterValidator(_codec_order)] = _setting(
        codec.ORDER, "codecs", "which codec a session gets that asks for none, best first",
        "a comma-separated choice of audioop, numpy, pure_python, each once",
    )  # fmt: skip
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = _setting(
        "info", "level", "debug adds a line for each frame", "debug, info, warning or error"
    )
    log_format: Annotated[Literal["auto", "json", "console"], Lower] = _setting(
        "auto", "format", "auto is json lines, but console when standard error is a terminal",
        "auto, json or console",
    )  # fmt: skip

    @field_validator("codec_order")
    @classmethod
    def _some_codec_here(cls, order: tuple[str, ...]) -> tuple[str, ...]:
        codec.resolve(None, order)
        return order

    @field_validator("proxy_protocol")
    @classmethod
    def _from_somebody(cls, switch: bool, info: ValidationInfo) -> bool:
        if switch and info.data.get("trusted_proxies") == ():
            raise ValueError("no proxy is trusted")
        return switch

    @field_validator("tls_key_file")
    @classmethod
    def _both_or_neither(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if (key is None) != (info.data.get("tls_cert_file") is None):
            raise ValueError("one without the other")
        return key

    @property
    def providers(self) -> tuple[Dialect, ...]:
        """The dialects of providers whose endpoints there are."""
        names = self.dialects
        if names is None:
            names = () if self.handler == "echo" else tuple(DIALECTS)
        return tuple(DIALECTS[name] for name in names)

    def url(self, port: int) -> str:
        """Return the URL of the service for a browser on this machine, with the bound port."""
        return _url("http" if self.tls_cert_file is None else "https", self.host, port)

    def admin_url(self, port: int) -> str:
        """Return the URL of the admin listener, as `url` does."""
        return _url("http", self.admin_host, port)

    @classmethod
    def load(cls, **options: Any) -> Self:
        """Return the settings of the environment, with the options that are not None.

        An empty variable means the default. Raises ConfigurationError, one line that names the
        variable or the option, its value and what is allowed.
        """
        given = {name: value for name, value in options.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            why = first.get("ctx", {}).get("error")
            if name in given:
                where = f"--{name.replace('_', '-')} {given[name]}"
            else:
                value = os.environ.get(_variable(name), first["input"])
                where = _variable(name) + ("" if value is None else f"={value}")
            said = f"; {why}" if isinstance(why, ValueError) else ""
            raise ConfigurationError(f"{where}: must be {allowed(name)}{said}") from None
        except LookupError as error:
            raise ConfigurationError(f"{_variable('codec_order')}: {error}") from None


def _url(scheme: str, host: str, port: int) -> str:
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


def unknown_variables() -> list[str]:
    """Return a sentence for each RT_AUDIO_* variable that no setting reads."""
    known = [_variable(name) for name in Settings.model_fields]
    sentences = []
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, 1, cutoff=0.85)
            sentences.append(f"{variable} is no setting" + (f"; {near[0]}?" if near else ""))
    return sentences


def allowed(name: str) -> str:
    """Return the words that say which values the field takes."""
    extra = Settings.model_fields[name].json_schema_extra
    assert isinstance(extra, dict)
    return str(extra["allowed"])


def _variable(name: str) -> str:
    return PREFIX + name.upper()
