"""The service's own certificate and key: read together, and refused with the reason."""

import re
import ssl
from binascii import a2b_base64
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from service.config import ConfigurationError

_CERT, _KEY = "RT_AUDIO_TLS_CERT_FILE", "RT_AUDIO_TLS_KEY_FILE"
#: OpenSSL's reasons for a key of other values, and for one of another algorithm.
_NOT_ITS_KEY = ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
#: The first of a chain is the service's own (RFC 8446, 4.4.2).
_FIRST = re.compile("-----BEGIN (?:X509 )?CERTIFICATE-----(.+?)-----END", re.DOTALL)
#: The tags of ASN.1 that are looked at here (ITU-T X.680, X.690), and how Python reads the times.
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18
_TIMES = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}


class Certificate(NamedTuple):
    """The TLS context of a certificate chain and its key, and when the first certificate expires.

    `expires` is in seconds since 1970.
    """

    context: ssl.SSLContext
    expires: float


def read_certificate(cert_file: Path, key_file: Path) -> Certificate:
    """Return what is in the two PEM files.

    Raises ConfigurationError, which names the wrong one of them and the reason.
    """
    cert, key = _text(_CERT, cert_file), _text(_KEY, key_file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=cert)
    except (ssl.SSLError, ValueError):  # the latter for an empty file
        raise _wrong(_CERT, cert_file, "has no readable PEM certificate in it") from None
    # OpenSSL would ask for the passphrase on the terminal, and wait.
    if "ENCRYPTED" in key:
        raise _wrong(_KEY, key_file, "is encrypted; the service takes a key without a passphrase")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    # Under TLS 1.2 a peer could demand signatures without end (RFC 5246, 7.4.1.1).
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(cert_file, key_file)
    except ssl.SSLError as error:
        if error.reason in _NOT_ITS_KEY:
            why = f"is not the key of the certificate in {_CERT}={cert_file}"
            raise _wrong(_KEY, key_file, why) from None
        if error.reason is None:  # The certificate was readable, so the key is not.
            raise _wrong(_KEY, key_file, "has no readable PEM private key in it") from None
        why = f"cannot be used: {error.reason.replace('_', ' ').lower()}"
        raise _wrong(_CERT, cert_file, why) from None
    except OSError as error:  # a file has gone since it was read
        why = f"cannot be used with {cert_file}: {error.strerror or error}"
        raise _wrong(_KEY, key_file, why) from None
    first = _FIRST.search(cert)
    assert first is not None, "OpenSSL has found a certificate"
    return Certificate(context, _not_after(a2b_base64(first[1])))


def _not_after(certificate: bytes) -> float:
    """Return until when a certificate in DER is valid (RFC 5280, 4.1), in seconds since 1970.

    The standard library tells this of a peer's certificate only. OpenSSL has read the certificate
    before, so it is well-formed.
    """
    [(_, whole)] = _elements(certificate)
    _, to_be_signed = next(_elements(whole))
    fields = [content for tag, content in _elements(to_be_signed) if tag != _VERSION]
    _serial_number, _signature, _issuer, validity, *_ = fields
    _, (tag, until) = _elements(validity)
    return datetime.strptime(until.decode(), _TIMES[tag]).replace(tzinfo=UTC).timestamp()


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the tag and the content of each DER element in the data (ITU-T X.690, 8.1 and 10.1)."""
    while data:
        tag, size, begin = data[0], data[1], 2
        if size & 0x80:
            begin += size & 0x7F
            size = int.from_bytes(data[2:begin])
        yield tag, data[begin : begin + size]
        data = data[begin + size :]


def _text(variable: str, path: Path) -> str:
    try:
        # PEM files may have comments in any encoding; OpenSSL skips them.
        return path.read_text(encoding="ascii", errors="replace").replace("\ufffd", "?")
    except OSError as error:
        raise _wrong(variable, path, f"cannot be read: {error.strerror or error}") from None


def _wrong(variable: str, path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(f"{variable}={path}: {why}")
