"""Who speaks for a provider: an upgrade that its provider has signed, or that has a secret of ours.

What comes from a stranger stays bytes, and is compared in constant time. Nothing here does I/O.
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import jwt

#: A header or a query of more bytes vouches for nobody: to look at it would cost the calls time.
#: Telnyx's tokens have at most 4,000, Plivo's URLs 2,048.
_MOST_HEADER_BYTES = 4096
_MOST_QUERY_BYTES = 2048
#: So many signatures of one header are looked at. Plivo sends one for each of an account's tokens.
_MOST_SIGNATURES = 10
#: How far the clock of Vonage may be from ours, in seconds.
_LEEWAY_SECONDS = 60

Secrets = Collection[bytes]


class Claim(NamedTuple):
    """An upgrade that claims to come from a dialect's provider.

    `path` is the endpoint's, from its first slash. `query` and `headers` are as they came, the
    headers as ASGI has them.
    """

    dialect: str
    path: str
    query: bytes
    headers: Collection[tuple[bytes, bytes]]


class Proof(NamedTuple):
    """How a provider proves that it is there.

    `fits` gets the claim, the dialect's secrets, and the URLs of the service for those who sign it.
    `challenge` is for WWW-Authenticate (RFC 9110, 11.6.1), `needed` for a caller without a proof.
    """

    fits: Callable[[Claim, Secrets, Secrets], bool]
    challenge: str
    needed: str
    signs_url: bool = False
    user_and_password: bool = False


class Vouching:
    """The secrets of all dialects that have some; it never changes.

    `public_url` is the setting; it has to be there if a dialect signs the URL.
    """

    def __init__(self, secrets: Mapping[str, Secrets], public_url: str | None) -> None:
        self._secrets = secrets
        self._urls = () if public_url is None else _both_urls(public_url)

    @property
    def dialects(self) -> Collection[str]:
        """The dialects that have secrets."""
        return self._secrets.keys()

    def vouches(self, claim: Claim) -> bool:
        """Return whether the upgrade is vouched for by a secret of its dialect."""
        secrets = self._secrets.get(claim.dialect, ())
        return PROOFS[claim.dialect].fits(claim, secrets, self._urls)


def _both_urls(public_url: str) -> tuple[bytes, bytes]:
    """Return the URL without a port, and with one: as it was set, or else the scheme's own."""
    scheme, host, path, *_ = urlsplit(public_url.rstrip("/"))
    without = re.sub(r":\d+$", "", host)
    if without == host:
        host += ":443" if scheme == "wss" else ":80"
    return f"{scheme}://{without}{path}".encode(), f"{scheme}://{host}{path}".encode()


def _signed_by_twilio(claim: Claim, secrets: Secrets, urls: Secrets) -> bool:
    """Check the HMAC-SHA1 of the URL, as twilio.com/docs/usage/security has it.

    Twilio signs the URL of a stream with `wss`. Whether with a port, differs even in its own
    libraries. It sends no query; one that was added by somebody else must not pass.
    """
    given = _only(claim, b"x-twilio-signature")
    place = claim.path.encode() + (b"?" + claim.query if claim.query else b"")
    return given is not None and any(
        hmac.compare_digest(given, b64encode(hmac.digest(secret, url + place, "sha1")))
        for secret in secrets
        for url in urls
    )


def _signed_by_plivo(claim: Claim, secrets: Secrets, urls: Secrets) -> bool:
    """Check one HMAC-SHA256 of URL and nonce (V3), as plivo.com/docs/voice/xml/request/validation.

    A header has a signature for each token of the account; the `Ma` one is by the main account's.
    Plivo says that it signs the upgrade, and not with which scheme: its own library for Node.js
    takes `https` for that of a stream's URL.
    """
    nonce = _only(claim, b"x-plivo-signature-v3-nonce")
    # With a dot in the nonce, what was the end of the query could be passed off as its beginning.
    if nonce is None or b"." in nonce or len(claim.query) > _MOST_QUERY_BYTES:
        return False
    names = (b"x-plivo-signature-v3", b"x-plivo-signature-ma-v3")
    values = [value for name in names if (value := _only(claim, name)) is not None]
    given = [one for value in values for one in value.split(b",")[:_MOST_SIGNATURES]]
    pairs = sorted(parse_qsl(claim.query.decode("latin-1"), keep_blank_values=True))
    query = "&".join(f"{name}={value}" for name, value in pairs)
    place = f"{claim.path}?{query}" if query else claim.path
    signed = [url + place.encode() + b"." + nonce for url in urls]
    signed += [each.replace(b"ws", b"http", 1) for each in signed]
    return any(
        hmac.compare_digest(one, b64encode(hmac.digest(secret, each, "sha256")))
        for secret in secrets
        for each in signed
        for one in given
    )


def _has_token_of_telnyx(claim: Claim, secrets: Secrets, urls: Secrets) -> bool:
    given = _only(claim, b"x-telnyx-streaming-auth-token")
    return given is not None and any(hmac.compare_digest(given, secret) for secret in secrets)


def _has_jwt_of_vonage(claim: Claim, secrets: Secrets, urls: Secrets) -> bool:
    """Check the JWT of an endpoint whose NCCO asks for `"authorization": {"type": "vonage"}`.

    It is signed like the JWT of a webhook: HS256, with the account's signature secret.
    """
    given = _credentials(claim, b"bearer")
    return given is not None and any(_is_jwt(given, secret) for secret in secrets)


def _is_jwt(given: bytes, secret: bytes) -> bool:
    try:
        # `aud` is nobody here: Vonage does not name us.
        options: jwt.types.Options = {"verify_aud": False}
        jwt.decode(given, secret, ["HS256"], options, leeway=_LEEWAY_SECONDS)
    except jwt.PyJWTError:
        return False
    return True


def _has_password(claim: Claim, secrets: Secrets, urls: Secrets) -> bool:
    """Check the user and the password of HTTP basic authentication (RFC 7617)."""
    given = _credentials(claim, b"basic")
    return given is not None and any(
        hmac.compare_digest(given, b64encode(secret)) for secret in secrets
    )


def _credentials(claim: Claim, scheme: bytes) -> bytes | None:
    """Return what the Authorization header has behind this scheme."""
    named, _, credentials = (_only(claim, b"authorization") or b"").partition(b" ")
    return credentials.strip() if named.lower() == scheme else None


def _only(claim: Claim, name: bytes) -> bytes | None:
    """Return the header's value; None if it is missing, too long, or there more than once.

    Of two values a proxy may have checked the one and we the other.
    """
    values = [value for key, value in claim.headers if key.lower() == name]
    return values[0] if len(values) == 1 and len(values[0]) <= _MOST_HEADER_BYTES else None


_BASIC = Proof(
    _has_password, 'Basic realm="rt-audio"',
    "a known user and password are needed, by HTTP basic authentication",
    user_and_password=True,
)  # fmt: skip
#: How the provider of each dialect proves itself.
PROOFS = {
    "twilio": Proof(
        _signed_by_twilio, "X-Twilio-Signature",
        "X-Twilio-Signature is needed, of the public URL by a known auth token", signs_url=True,
    ),
    "telnyx": Proof(
        _has_token_of_telnyx, "X-Telnyx-Streaming-Auth-Token",
        "a known x-telnyx-streaming-auth-token is needed",
    ),
    "plivo": Proof(
        _signed_by_plivo, "X-Plivo-Signature-V3",
        "X-Plivo-Signature-V3 is needed, of the public URL by a known auth token", signs_url=True,
    ),
    "vonage": Proof(
        _has_jwt_of_vonage, "Bearer",
        "a JWT is needed as bearer token, signed with a known signature secret, and not expired",
    ),
    "asterisk": _BASIC,
    "jambonz": _BASIC,
    "freeswitch": _BASIC,
    "exotel": _BASIC,
}  # fmt: skip
#: Nobody has a secret.
NO_SECRETS = Vouching({}, None)
