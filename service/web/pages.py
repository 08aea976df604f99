"""The console's routes: `/`, its packaged files, and the facts that the page needs of the server.

Every answer carries the same strict policy: nothing runs, loads or connects but what this origin
serves. The files are read once, so that a path can only ever name one of them.
"""

import hashlib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

from quart import Blueprint, Response, jsonify, request
from werkzeug.exceptions import NotFound

from service import __version__, codec
from service.config import Settings
from service.networks import Networks
from service.tally import Refusal
from service.web.admission import PASSING, RETRY_AFTER_SECONDS, Admission, Refused
from service.web.openapi import COUNT, FLAG, TEXT, Answer, described, failed, nullable, record
from service.web.upgrade import caller_of

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "wav": "audio/wav",
}

#: `connect-src 'self'` covers this origin's WebSockets (Content Security Policy Level 3, 6.7.2.8).
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), display-capture=(), geolocation=(), "
    "payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_MEDIA_TYPES = tuple(content_type.partition(";")[0] for content_type in _TYPES.values())
_AS_BEFORE = Answer("the browser has it", media_types=())
_FACTS = record(
    version=TEXT,
    handler=FLAG,
    codecs={"type": "object", "additionalProperties": FLAG},
    best_codec=TEXT,
    max_frame_bytes=COUNT,
    token_needed=FLAG,
    refusal=nullable(TEXT),
    retry_after=nullable(COUNT),
)


class _File(NamedTuple):
    content: bytes
    content_type: str
    etag: str


def console(settings: Settings, admission: Admission, trusted: Networks) -> Blueprint:
    """Return the routes of the console, to be registered with the app."""
    pages = Blueprint("console", __name__)
    files = _files()

    @pages.get("/")
    @described("The console", {200: Answer("a page", None, ("text/html",)), 304: _AS_BEFORE})
    async def index() -> Response:
        return await _answer(files["index.html"])

    @pages.get("/console/<path:name>")
    @described(
        "A file of the console",
        {200: Answer("the file", None, _MEDIA_TYPES),
         304: _AS_BEFORE, 404: failed("there is no such file", "not_found")},
    )  # fmt: skip
    async def file(name: str) -> Response:
        if name not in files:
            raise NotFound
        return await _answer(files[name])

    @pages.get("/console/server.json")
    @described(
        "What a caller can choose, and what an upgrade would get now",
        {200: Answer("the facts", _FACTS)}, query={"origin": TEXT},
    )  # fmt: skip
    async def server() -> Response:
        """Say what a caller can choose, and what an upgrade from this page would get now.

        A browser keeps from its page why an upgrade was refused, so it is told here.
        """
        refusal = _refusal(admission, trusted)
        response = jsonify(
            version=__version__,
            handler=settings.handler != "echo",
            codecs={name: name in codec.available() for name in codec.ORDER},
            best_codec=codec.resolve(None, settings.codec_order),
            max_frame_bytes=settings.max_frame_bytes,
            token_needed=settings.tokens_file is not None,
            refusal=refusal,
            # A refusal has it as a header, which a browser keeps from its page too.
            retry_after=RETRY_AFTER_SECONDS if refusal in PASSING else None,
        )
        response.headers["Cache-Control"] = "no-store"
        return response

    @pages.after_request
    async def secured(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    return pages


def _files() -> dict[str, _File]:
    """Return the packaged files by their path within the console's folder.

    A file of another type, as TypeScript's declarations are, is not for browsers.
    """
    files = {}
    for path, packaged in _below(resources.files("service").joinpath("console")):
        content_type = _TYPES.get(path.rpartition(".")[2])
        if content_type is not None:
            content = packaged.read_bytes()
            files[path] = _File(content, content_type, _digest(content))
    return files


def _below(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    """Give each file in a folder and its subfolders, with its path from the first folder."""
    for each in folder.iterdir():
        if each.is_dir():
            yield from _below(each, f"{prefix}{each.name}/")
        else:
            yield prefix + each.name, each


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


async def _answer(file: _File) -> Response:
    """Return a file, or 304 to a browser that has it; browsers ask each time, so none is stale."""
    response = Response(file.content, content_type=file.content_type)
    response.headers["Cache-Control"] = "no-cache"
    response.set_etag(file.etag)
    return await response.make_conditional(request)


def _refusal(admission: Admission, trusted: Networks) -> Refusal | None:
    """Return why an upgrade by this page would be refused.

    A page's own GET has no Origin header, so the page names its origin.
    """
    caller = caller_of(request.scope, trusted)
    try:
        token = admission.check(
            caller,
            origin=request.args.get("origin"),
            host=request.headers.get("Host"),
            authorization=request.headers.get("Authorization"),
            query_token=None,
            subprotocols=(),
            upgrades=0,
        )
    except Refused as refused:
        return refused.reason
    return admission.room(caller, token)
