"""The service's certificate and key: which file is wrong, and why."""

from datetime import datetime
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from service.config import ConfigurationError
from service.net.certificate import read_certificate


def weak() -> tuple[bytes, bytes]:
    """Return an RSA key that OpenSSL finds too small, and its certificate."""
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "weak.test")])
    cert = x509.CertificateBuilder(
        name, name, key.public_key(), 1, datetime(2020, 1, 1), datetime(2040, 1, 1)
    ).sign(key, SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, cert.public_bytes(Encoding.PEM)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with PEM files of every kind."""
    folder = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    ours, other = authority.issue_cert("ours.test"), authority.issue_cert("other.test")
    cert, key = ours.cert_chain_pems[0].bytes(), ours.private_key_pem.bytes()
    weak_key, weak_cert = weak()
    contents = {
        "cert": cert,
        "key": key,
        "both": key + cert,
        "commented": b"# gr\xc3\xbcn\n" + cert,
        "other key": other.private_key_pem.bytes(),
        "cut cert": cert[:300],
        "cut key": key[:100],
        "words": b"hello\n",
        "binary": b"\0\xff" * 100,
        "empty": b"",
        "weak key": weak_key,
        "weak cert": weak_cert,
    }
    private = load_pem_private_key(key, None)
    for name, form in (
        ("encrypted", PrivateFormat.PKCS8),
        ("encrypted, traditional", PrivateFormat.TraditionalOpenSSL),
    ):
        contents[name] = private.private_bytes(
            Encoding.PEM, form, BestAvailableEncryption(b"secret")
        )
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(("cert", "key"), [("cert", "key"), ("both", "both"), ("commented", "key")])
def test_a_certificate_and_its_key(files: Path, cert: str, key: str) -> None:
    read_certificate(files / cert, files / key)


@pytest.mark.parametrize(
    ("cert", "key", "variable", "why"),
    [
        ("none", "key", "CERT", "cannot be read: No such file or directory"),
        (".", "key", "CERT", "cannot be read: Is a directory"),
        ("cut cert", "key", "CERT", "has no readable PEM certificate in it"),
        ("words", "key", "CERT", "has no readable PEM certificate in it"),
        ("binary", "key", "CERT", "has no readable PEM certificate in it"),
        ("empty", "key", "CERT", "has no readable PEM certificate in it"),
        ("key", "cert", "CERT", "has no readable PEM certificate in it"),
        ("weak cert", "weak key", "CERT", "cannot be used: ee key too small"),
        ("cert", "none", "KEY", "cannot be read: No such file or directory"),
        ("cert", ".", "KEY", "cannot be read: Is a directory"),
        ("cert", "cut key", "KEY", "has no readable PEM private key in it"),
        ("cert", "cert", "KEY", "has no readable PEM private key in it"),
        ("cert", "binary", "KEY", "has no readable PEM private key in it"),
        ("cert", "empty", "KEY", "has no readable PEM private key in it"),
        ("cert", "other key", "KEY", "is not the key of the certificate in .*_CERT_FILE="),
        ("cert", "weak key", "KEY", "is not the key of the certificate in .*_CERT_FILE="),
        ("cert", "encrypted", "KEY", "is encrypted; .* without a passphrase"),
        ("cert", "encrypted, traditional", "KEY", "is encrypted; .* without a passphrase"),
    ],
)  # fmt: skip
def test_the_wrong_file_is_named_with_the_reason(
    files: Path, cert: str, key: str, variable: str, why: str
) -> None:
    wrong = files / {"CERT": cert, "KEY": key}[variable]
    with pytest.raises(ConfigurationError, match=f"^RT_AUDIO_TLS_{variable}_FILE={wrong}: {why}"):
        read_certificate(files / cert, files / key)
