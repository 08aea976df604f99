"""Who speaks for a provider, judged by the providers' own packages and by known vectors."""

import json
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
import vonage_jwt
from hypothesis import given
from hypothesis import strategies as st
from plivo.utils import signature_v3
from twilio.request_validator import RequestValidator

from service.dialects.book import DIALECTS
from service.web.vouching import NO_SECRETS, PROOFS, Claim, Vouching
from tests.peers.logged import entries, shown
from tests.peers.serving import serving

URL = "wss://voice.example"
SECRET = "0123456789abcdef0123456789ABCDEFghij"
Headers = dict[str, str]


def twilio(secret: str, url: str = f"{URL}/ws/twilio") -> Headers:
    return {"X-Twilio-Signature": RequestValidator(secret).compute_signature(url, {})}


def plivo(secret: str, url: str = f"{URL}/ws/plivo", nonce: str = "05429567804") -> Headers:
    signed = signature_v3.construct_get_url(url, {}).decode()
    signature = signature_v3.get_signature_v3(secret, signed, nonce).decode()
    return {"X-Plivo-Signature-V3": signature, "X-Plivo-Signature-V3-Nonce": nonce}


def vonage(secret: str, **claims: Any) -> Headers:
    return {"Authorization": f"Bearer {jwt.encode(claims, secret, 'HS256')}"}


def telnyx(secret: str) -> Headers:
    return {"X-Telnyx-Streaming-Auth-Token": secret}


def basic(secret: str) -> Headers:
    return {"Authorization": f"Basic {b64encode(secret.encode()).decode()}"}


PROVE: dict[str, Callable[[str], Headers]] = {
    **dict.fromkeys(PROOFS, basic),
    "twilio": twilio, "plivo": plivo, "vonage": vonage, "telnyx": telnyx,
}  # fmt: skip


def vouched(
    dialect: str,
    headers: Headers | list[tuple[bytes, bytes]],
    *secrets: str,
    path: str | None = None,
    query: bytes = b"",
    url: str = URL,
) -> bool:
    if isinstance(headers, dict):
        headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    known = {dialect: [secret.encode() for secret in secrets or (SECRET,)]}
    claim = Claim(dialect, f"/ws/{dialect}" if path is None else path, query, headers)
    return Vouching(known, url).vouches(claim)


each_dialect = pytest.mark.parametrize("dialect", PROOFS)


@each_dialect
def test_a_known_secret_vouches_and_no_other(dialect: str) -> None:
    headers = PROVE[dialect](SECRET)
    assert vouched(dialect, headers)
    assert vouched(dialect, headers, "new" + SECRET, SECRET)
    assert vouched(dialect, headers, SECRET, "new" + SECRET)
    for other in (SECRET + "0", SECRET[:-1], SECRET.swapcase()):
        assert not vouched(dialect, headers, other)
        assert not vouched(dialect, PROVE[dialect](other + SECRET))


@each_dialect
def test_no_header_may_be_missing_doubled_empty_or_another_dialects(dialect: str) -> None:
    headers = PROVE[dialect](SECRET)
    lines = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    for index, (name, _) in enumerate(lines):
        rest = lines[:index] + lines[index + 1 :]
        assert not vouched(dialect, rest)
        assert not vouched(dialect, [*rest, (name, b"")])
        assert not vouched(dialect, [*lines, lines[index]])
        assert not vouched(dialect, [*lines, (name, b"")])
        assert not vouched(dialect, [(name, b""), *lines])
    others = {**basic("x:y"), **telnyx("x"), **twilio("x"), **plivo("x")}
    assert not vouched(dialect, others)


@each_dialect
def test_a_headers_name_and_scheme_may_be_in_any_case(dialect: str) -> None:
    for write in (bytes.upper, bytes.title, bytes.swapcase):
        lines = []
        for name, value in PROVE[dialect](SECRET).items():
            scheme, space, rest = value.encode().rpartition(b" ")
            lines.append((write(name.encode()), write(scheme) + space + rest))
        assert vouched(dialect, lines)


@each_dialect
def test_each_byte_of_each_header_counts(dialect: str) -> None:
    lines = [(name.encode(), value.encode()) for name, value in PROVE[dialect](SECRET).items()]
    for index, (name, value) in enumerate(lines):
        for place in range(len(value)):
            tampered = bytearray(value)
            tampered[place] ^= 0x10  # in base64, a bit that counts even in the last character
            changed = [*lines]
            changed[index] = name, bytes(tampered)
            assert not vouched(dialect, changed), (value, tampered)
            changed[index] = name, value[:place]
            assert not vouched(dialect, changed)


@pytest.mark.parametrize("dialect", ["twilio", "plivo"])
def test_each_byte_of_the_url_counts(dialect: str) -> None:
    url, path, query = URL, f"/ws/{dialect}", b"a=1&b=2"
    headers = {"twilio": twilio, "plivo": plivo}[dialect](SECRET, f"{url}{path}?a=1&b=2")
    assert vouched(dialect, headers, query=query)
    assert not vouched(dialect, headers)
    assert not vouched(dialect, PROVE[dialect](SECRET), query=b"live=true")
    for place in range(len(query)):
        tampered = query[:place] + b"x" + query[place + 1 :]
        assert not vouched(dialect, headers, query=tampered)
    for place in range(len(path)):
        tampered_path = f"{path[:place]}X{path[place + 1 :]}"
        assert not vouched(dialect, headers, query=query, path=tampered_path)
    for place in range(len("wss://"), len(url)):
        tampered_url = f"{url[:place]}X{url[place + 1 :]}"
        assert not vouched(dialect, headers, query=query, url=tampered_url)


@each_dialect
@given(
    values=st.lists(st.binary(max_size=40), min_size=3, max_size=3),
    query=st.binary(max_size=40),
    secret=st.text("0123456789abcdef", min_size=32, max_size=40),
)
def test_a_stranger_can_send_anything(
    dialect: str, values: list[bytes], query: bytes, secret: str
) -> None:
    scheme = b"Bearer " if dialect == "vonage" else b"Basic "
    for named in (scheme, b""):
        names = (name.lower().encode() for name in PROVE[dialect](SECRET))
        headers = [(name, named + value) for name, value in zip(names, values, strict=False)]
        assert not vouched(dialect, headers, secret, query=query)


@each_dialect
def test_what_is_too_long_is_not_looked_at(dialect: str) -> None:
    name = next(iter(PROVE[dialect](SECRET)))
    long = "a" * 4097
    assert not vouched(dialect, PROVE[dialect](SECRET) | {name: long}, long)
    assert vouched("telnyx", telnyx(long[:4000]), long[:4000])
    query = "a=" + "1" * 2047
    assert not vouched("plivo", plivo(SECRET, f"{URL}/ws/plivo?{query}"), query=query.encode())


@pytest.mark.parametrize(
    ("path", "signature"),
    [
        ("/twilio", "4qZsm0/0bGQYw36gQ+0YyAX07W0="),
        ("/twilio", "tYIDpTBj+kKa9YO2PK0LP2nShQI="),
        ("/twilio/", "JlXw4tEu8lTjRRJbGn37e6XJOFg="),
    ],
)
def test_twilios_vectors(path: str, signature: str) -> None:
    headers = {"X-Twilio-Signature": signature}
    assert vouched("twilio", headers, "12345", path=path, url="wss://example.com")
    assert not vouched("twilio", headers, "12345", path=path, url="ws://example.com")


@pytest.mark.parametrize(
    ("url", "signed", "right"),
    [
        ("wss://a.example", "wss://a.example/ws/twilio", True),
        ("wss://a.example", "wss://a.example:443/ws/twilio", True),
        ("wss://a.example", "wss://a.example:80/ws/twilio", False),
        ("wss://a.example", "wss://a.example/ws/twilio/", False),
        ("wss://a.example", "wss://a.example/ws/twilio?", False),
        ("wss://a.example", "https://a.example/ws/twilio", False),
        ("wss://a.example", "wss://A.example/ws/twilio", False),
        ("wss://a.example:8443", "wss://a.example:8443/ws/twilio", True),
        ("wss://a.example:8443", "wss://a.example/ws/twilio", True),
        ("wss://a.example:8443", "wss://a.example:443/ws/twilio", False),
        ("ws://a.example", "ws://a.example:80/ws/twilio", True),
        ("ws://a.example", "ws://a.example:443/ws/twilio", False),
        ("wss://[2001:db8::1]", "wss://[2001:db8::1]:443/ws/twilio", True),
        ("wss://[2001:db8::1]:1", "wss://[2001:db8::1]/ws/twilio", True),
        ("wss://a.example/audio", "wss://a.example/audio/ws/twilio", True),
        ("wss://a.example/audio", "wss://a.example:443/audio/ws/twilio", True),
        ("wss://a.example/audio", "wss://a.example/ws/twilio", False),
        ("wss://a.example/audio/", "wss://a.example/audio/ws/twilio", True),
        ("wss://a.example/", "wss://a.example:443/ws/twilio", True),
    ],
)
def test_twilio_may_sign_the_public_url_with_a_port_or_without(
    url: str, signed: str, right: bool
) -> None:
    assert vouched("twilio", twilio(SECRET, signed), url=url) is right


@pytest.mark.parametrize(
    ("path", "query", "signature"),
    [
        ("/plivo", b"", "nxnZAfxuA7dTMv3zsGtVmrvGSYmLYu6ZQ9MEMfY27nc="),
        ("/plivo", b"b=2&a=1", "/rBOPWg906fwCegnMI1fI+jqKhuZRrUcVMyy9FNzpcw="),
    ],
)
def test_plivos_vectors(path: str, query: bytes, signature: str) -> None:
    headers = {"X-Plivo-Signature-V3": signature, "X-Plivo-Signature-V3-Nonce": "12345"}
    arguments: Any = {"path": path, "query": query}
    assert vouched("plivo", headers, "my_auth_token", **arguments, url="wss://example.com")
    assert not vouched("plivo", headers, "my_auth_token", **arguments, url="ws://example.com")


@pytest.mark.parametrize(
    ("url", "signed", "right"),
    [
        ("wss://a.example", "wss://a.example/ws/plivo", True),
        ("wss://a.example", "https://a.example:443/ws/plivo", True),
        ("wss://a.example", "http://a.example/ws/plivo", False),
        ("ws://a.example:81/audio", "http://a.example:81/audio/ws/plivo", True),
    ],
)
def test_plivo_may_sign_the_public_url_as_https(url: str, signed: str, right: bool) -> None:
    assert vouched("plivo", plivo(SECRET, signed), url=url) is right


@given(
    st.lists(
        st.tuples(*2 * [st.text(st.characters(max_codepoint=127), max_size=5)]), max_size=5
    ).flatmap(st.permutations)
)
def test_plivos_query_is_sorted_as_its_package_does(pairs: list[tuple[str, str]]) -> None:
    query = urlencode(pairs)
    headers = plivo(SECRET, f"{URL}/ws/plivo?{query}" if query else f"{URL}/ws/plivo")
    assert vouched("plivo", headers, query=query.encode())


def test_one_of_plivos_signatures_is_enough_the_main_accounts_too() -> None:
    headers = plivo(SECRET)
    signature = headers["X-Plivo-Signature-V3"]
    several = headers | {"X-Plivo-Signature-V3": f"bm8=,{signature},bm8="}
    assert vouched("plivo", several)
    main = headers | {"X-Plivo-Signature-V3": "bm8=", "X-Plivo-Signature-Ma-V3": signature}
    assert vouched("plivo", main)
    many = headers | {"X-Plivo-Signature-V3": f"{'bm8=,' * 10}{signature}"}
    assert not vouched("plivo", many)


def test_plivos_query_does_not_end_in_its_nonce() -> None:
    headers = plivo(SECRET, f"{URL}/ws/plivo?room=1.2", "345")
    assert vouched("plivo", headers, query=b"room=1.2")
    headers["X-Plivo-Signature-V3-Nonce"] = "2.345"
    assert not vouched("plivo", headers, query=b"room=1")


@pytest.mark.parametrize(
    ("claims", "right"),
    [
        ({}, True),
        ({"iat": 0}, True),
        ({"iat": 30}, True),
        ({"iat": 3600}, False),
        ({"exp": 3600}, True),
        ({"exp": -30}, True),
        ({"exp": -3600}, False),
        ({"nbf": -3600}, True),
        ({"nbf": 3600}, False),
        ({"iss": "Vonage", "aud": "anybody", "jti": "1", "application_id": "a"}, True),
    ],
)
def test_vonages_token_is_neither_expired_nor_of_the_future(
    claims: dict[str, Any], right: bool
) -> None:
    now = int(time.time())
    dated = {
        name: now + value if isinstance(value, int) else value for name, value in claims.items()
    }
    assert vouched("vonage", vonage(SECRET, **dated)) is right


@pytest.mark.parametrize("secret", [SECRET, SECRET * 2])
def test_vonages_own_package_agrees(secret: str) -> None:
    headers = vonage(secret, iat=int(time.time()))
    token = headers["Authorization"].removeprefix("Bearer ")
    assert vouched("vonage", headers) is vonage_jwt.verify_signature(token, SECRET)


def test_a_short_signature_secret_works_and_python_warns_of_it() -> None:
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        assert vouched("vonage", vonage("short"), "short")


def test_vonages_token_is_signed_by_hs256_and_nothing_else() -> None:
    for algorithm in ("HS384", "HS512"):
        token = jwt.encode({}, SECRET * 2, algorithm)
        assert not vouched("vonage", {"Authorization": f"Bearer {token}"}, SECRET * 2)
    _, claims, signature = vonage(SECRET)["Authorization"].split(".")
    headers: tuple[Any, ...] = {"alg": "none"}, {"alg": "None"}, {}, {"alg": ["HS256"]}, []
    for header in (*map(json.dumps, headers), "[" * 3000):
        encoded = urlsafe_b64encode(header.encode()).decode().rstrip("=")
        for end in (signature, ""):
            token = f"{encoded}.{claims}.{end}"
            assert not vouched("vonage", {"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize(
    ("secret", "credentials"),
    [
        ("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ("test:123£", "dGVzdDoxMjPCow=="),
        ("pbx:secret", "cGJ4OnNlY3JldA=="),
    ],
)
def test_the_vectors_of_rfc_7617_and_of_an_asterisk(secret: str, credentials: str) -> None:
    assert vouched("asterisk", {"Authorization": f"Basic {credentials}"}, secret)
    assert vouched("asterisk", {"Authorization": f"basic  {credentials} "}, secret)
    assert not vouched("asterisk", {"Authorization": f"Bearer {credentials}"}, secret)
    assert not vouched("asterisk", {"Authorization": credentials}, secret)


def test_every_provider_can_prove_itself() -> None:
    assert set(PROOFS) == set(DIALECTS)


def lines(headers: Headers) -> str:
    """Return the headers as a request has them."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


async def test_each_endpoint_asks_for_its_proof_and_shows_no_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], set_up_logs: Callable[[str, str], None]
) -> None:
    set_up_logs("debug", "json")
    secret = f"user:{SECRET}"
    for dialect in PROOFS:
        (tmp_path / dialect).write_text(f"{secret}\n")
    arguments: Any = {"secrets_dir": tmp_path, "public_url": URL, "dialects": ",".join(PROOFS)}
    async with serving(**arguments, log_level="debug", admin_port=0) as service:
        assert service.admin is not None
        for dialect, proof in PROOFS.items():
            path, right = f"/ws/{dialect}", lines(PROVE[dialect](secret))
            assert (await service.answer(path, right))[0] == 101
            assert (await service.admin.answer(path, right))[0] == 101
            for wrong in ({}, PROVE[dialect](secret + "0"), {"Authorization": "Bearer x"}):
                status, head = await service.answer(path, lines(wrong))
                assert (status, f"www-authenticate: {proof.challenge}\r\n" in head) == (401, True)
        signed = lines(twilio(secret, f"{URL}/ws/twilio?b=%2F+&a"))
        assert (await service.answer("/ws/twilio?b=%2F+&a", signed))[0] == 101
        assert (await service.answer("/ws/twilio?b=%2F+", signed))[0] == 401
        assert (await service.answer("/ws/%74wilio?b=%2F+&a", signed))[0] == 101
        assert (await service.answer("/ws/audio"))[0] == 101
        page = (await service.admin.get("/metrics"))[1]
    said = shown(capfd)
    assert "endpoint_open" not in said
    assert '"reason": "unauthorized"' in said
    assert SECRET not in said + page


async def test_the_start_tells_which_endpoints_are_open(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], set_up_logs: Callable[[str, str], None]
) -> None:
    set_up_logs("info", "json")
    (tmp_path / "telnyx").write_text(SECRET)
    async with serving(dialects="telnyx,vonage,asterisk", secrets_dir=tmp_path):
        [line] = entries(capfd, "endpoint_open")
    assert line["dialects"] == "vonage, asterisk"


def test_where_nobody_has_a_secret_nobody_is_vouched_for() -> None:
    assert not NO_SECRETS.dialects
    for dialect in PROOFS:
        assert not NO_SECRETS.vouches(Claim(dialect, f"/ws/{dialect}", b"", []))
