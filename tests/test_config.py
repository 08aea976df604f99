"""Settings from the environment, and what an operator is told when they are wrong."""

import re
from pathlib import Path

import pytest

from service import codec
from service.config import ConfigurationError, Settings, unknown_variables

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"RT_AUDIO_{name.upper()}", raising=False)


def test_the_defaults_need_no_environment() -> None:
    settings = Settings.load()
    assert (settings.host, settings.port, settings.max_sessions) == ("0.0.0.0", 8001, 1000)
    assert (settings.max_frame_bytes, settings.idle_seconds) == (1024 * 1024, 300)
    assert (settings.send_timeout_seconds, settings.drain_notice_seconds) == (10, 0)
    assert (settings.drain_seconds, settings.codec_order) == (30, codec.ORDER)


def test_the_environment_sets_every_field(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = {
        "HOST": "::1", "PORT": "9000", "MAX_SESSIONS": "5", "MAX_FRAME_BYTES": "64",
        "ADMIN_HOST": "::1", "ADMIN_PORT": "0",
        "IDLE_SECONDS": "1.5", "SEND_TIMEOUT_SECONDS": "2", "DRAIN_NOTICE_SECONDS": "3",
        "DRAIN_SECONDS": "4", "PING_SECONDS": "0", "PONG_SECONDS": "5",
        "ALLOWED_ORIGINS": "https://a.example, HTTP://b.example:81", "CODEC_ORDER": "numpy",
        "TRUSTED_PROXIES": "10.0.0.0/8, ::1", "PROXY_PROTOCOL": "true",
        "MAX_SESSIONS_PER_TOKEN": "6", "MAX_SESSIONS_PER_ADDRESS": "7",
        "MAX_UPGRADES_PER_TOKEN": "8", "MAX_UPGRADES_PER_ADDRESS": "9", "END_REVOKED": "true",
        "TOKENS_FILE": str(tmp_path), "SECRETS_DIR": str(tmp_path),
        "PUBLIC_URL": "wss://voice.example:8443/audio", "TLS_CERT_FILE": "c", "TLS_KEY_FILE": "k",
        "HANDLER": "a.b:c", "DIALECTS": "twilio", "CONSOLE": "false", "CONFORMANCE_ECHO": "true",
        "LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(f"RT_AUDIO_{name}", value)
    settings = Settings.load()
    assert {name.lower() for name in values} == set(Settings.model_fields)
    assert settings.allowed_origins == ("https://a.example", "http://b.example:81")
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")
    assert settings.codec_order == ("numpy",)
    assert settings.log_level == "debug"
    assert all(
        getattr(settings, name) != field.default for name, field in Settings.model_fields.items()
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"), ("PORT", "tcp://10.0.0.1:8001"), ("MAX_SESSIONS", "0"),
        ("MAX_FRAME_BYTES", "1"), ("IDLE_SECONDS", "never"), ("IDLE_SECONDS", "nan"),
        ("SEND_TIMEOUT_SECONDS", "0"), ("DRAIN_SECONDS", "-1"), ("DRAIN_SECONDS", "inf"),
        ("ALLOWED_ORIGINS", "example.com"), ("ALLOWED_ORIGINS", "https://example.com/path"),
        ("CODEC_ORDER", "opus"), ("CODEC_ORDER", ","), ("CODEC_ORDER", "numpy,numpy"),
        ("HANDLER", "bot"), ("HANDLER", "a-b:c"), ("HANDLER", "bot:"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,proxy.example"), ("TRUSTED_PROXIES", "unix"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"), ("PROXY_PROTOCOL", "v2"), ("PROXY_PROTOCOL", "true"),
        ("PUBLIC_URL", "https://voice.example"), ("PUBLIC_URL", "wss://voice.example/?a=b"),
        ("PUBLIC_URL", "wss://voice.example/#a"), ("PUBLIC_URL", "wss://a:b@voice.example"),
        ("PUBLIC_URL", "wss://"), ("PUBLIC_URL", "wss://voice.example/a b"),
        ("PUBLIC_URL", "voice.example"), ("PUBLIC_URL", "wss://voïce.example"),
        ("LOG_LEVEL", "loud"), ("LOG_FORMAT", "xml"), ("CONFORMANCE_ECHO", "perhaps"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_with_name_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"RT_AUDIO_{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    message = str(caught.value)
    assert message.startswith(f"RT_AUDIO_{name}={value}: must be ")
    assert "\n" not in message


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    defaults = Settings.load()
    monkeypatch.setenv(f"RT_AUDIO_{name.upper()}", "")
    assert Settings.load() == defaults


def test_a_wrong_option_is_told_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RT_AUDIO_LOG_LEVEL", "info")
    with pytest.raises(ConfigurationError, match=r"^--log-level loud: must be debug, info, "):
        Settings.load(log_level="loud")
    with pytest.raises(ConfigurationError, match=r"^--host : must be an address"):
        Settings.load(host="")


def test_an_option_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RT_AUDIO_PORT", "9000")
    assert Settings.load(port=9001).port == 9001
    assert Settings.load(port=None).port == 9000


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://localhost:9/"), ("::", "http://localhost:9/"),
        ("::1", "http://[::1]:9/"), ("voice.example", "http://voice.example:9/"),
    ],
)  # fmt: skip
def test_a_url_that_a_browser_here_can_open(host: str, url: str) -> None:
    assert Settings(host=host).url(9) == url
    tls = Settings(host=host, tls_cert_file=Path("c"), tls_key_file=Path("k"))
    assert tls.url(9) == url.replace("http:", "https:")
    assert Settings(admin_host=host).admin_url(9) == url


@pytest.mark.parametrize(("given", "named"), [
    ("TLS_CERT_FILE", "TLS_KEY_FILE"), ("TLS_KEY_FILE", "TLS_KEY_FILE=file.pem"),
])  # fmt: skip
def test_a_certificate_and_its_key_come_together(
    monkeypatch: pytest.MonkeyPatch, given: str, named: str
) -> None:
    monkeypatch.setenv(f"RT_AUDIO_{given}", "file.pem")
    with pytest.raises(ConfigurationError, match=f"^RT_AUDIO_{named}: .* given together"):
        Settings.load()


def test_the_entry_that_is_no_network_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"; 'proxy.example' is not a network$"):
        Settings.load(trusted_proxies="10.0.0.0/8, proxy.example, ::1")


def test_an_order_without_any_codec_that_is_here_cannot_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codec, "available", lambda: ("pure_python",))
    with pytest.raises(ConfigurationError, match=r"RT_AUDIO_CODEC_ORDER.*numpy"):
        Settings.load(codec_order="numpy")


def test_a_slip_in_a_variables_name_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RT_AUDIO_MAX_SESSION", "5")
    monkeypatch.setenv("RT_AUDIO_ZZZ", "5")
    assert unknown_variables() == [
        "RT_AUDIO_MAX_SESSION is no setting; RT_AUDIO_MAX_SESSIONS?",
        "RT_AUDIO_ZZZ is no setting",
    ]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_readme_tells_of_each_setting_what_the_code_does(name: str) -> None:
    field = Settings.model_fields[name]
    default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
    shown = "" if default is None else str(default)
    if isinstance(default, bool):
        shown = shown.lower()
    assert isinstance(field.json_schema_extra, dict)
    unit = field.json_schema_extra["unit"]
    cells = f"| `RT_AUDIO_{name.upper()}` | {f'`{shown}`' if shown else ''} | {unit} |"
    assert cells.replace("|  |", "| |") in README.read_text()


def test_the_readme_names_no_other_variable() -> None:
    named = set(re.findall(r"RT_AUDIO_[A-Z_]*[A-Z]", README.read_text()))
    settings = {f"RT_AUDIO_{name.upper()}" for name in Settings.model_fields}
    assert named - settings == {"RT_AUDIO_TOKEN"}, "which is of our client"
