"""Files replaced on the disk, and what that does to the service that runs."""

import os
import signal
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from service import reload
from service.config import ConfigurationError, Settings
from service.reload import Files, Source
from service.web.access import read_tokens
from service.web.vouching import Claim, Vouching
from tests.peers.certificates import certificate_authority
from tests.peers.logged import entries, shown
from tests.peers.reach import Service
from tests.peers.serving import serving, terminate

TOKEN = "access_token="


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text("acme:first\nsecond\n")
    return file


def source(file: Path) -> Source[list[str]]:
    """Return the names in a tokens file, as the service has them."""
    return Source((file,), lambda: [token.called for token in read_tokens(file).values()])


def replace(file: Path, text: str) -> None:
    """Put another file in its place, as an operator should."""
    (file.parent / "new").write_text(text)
    (file.parent / "new").rename(file)


def test_a_change_counts_once_two_looks_have_found_the_same(tokens: Path) -> None:
    names = source(tokens)
    assert [names.look(at_once=False) for _ in range(3)] == [False] * 3
    with tokens.open("a") as file:
        for name in ("third", "fourth"):
            file.write(f"{name}:{name}\n")
            file.flush()
            assert not names.look(at_once=False), "it is being written"
    assert names.look(at_once=False)
    assert names.value == ["acme", "line 2", "third", "fourth"]
    assert not names.look(at_once=False)


def test_the_swap_of_a_kubernetes_volume_is_seen(tmp_path: Path) -> None:
    """There the file is a link to `..data/tokens`, and `..data` a link that is replaced."""
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "tokens").write_text(f"name{number}:secret\n")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "tokens").symlink_to("..data/tokens")
    names = source(tmp_path / "tokens")
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert [names.look(at_once=False) for _ in range(3)] == [False, True, False]
    assert names.value == ["name2"]


def test_a_wrong_file_changes_nothing_and_is_read_again_once_it_changes(tokens: Path) -> None:
    names = source(tokens)
    replace(tokens, "one secret\n")
    assert [names.look(at_once=False) for _ in range(3)] == [False, True, False]
    assert "line 1, column 4" in str(names.wrong)
    tokens.unlink()
    assert [names.look(at_once=False) for _ in range(3)] == [False, True, False]
    assert "No such file" in str(names.wrong)
    assert names.value == ["acme", "line 2"]
    replace(tokens, "new:secret\n")
    assert [names.look(at_once=False) for _ in range(3)] == [False, True, False]
    assert (names.value, names.wrong) == (["new"], None)


def test_files_that_change_while_they_are_read_are_read_again(tokens: Path) -> None:
    """So a certificate is not held against the key of the next one."""
    texts = iter(["second:secret\n", "third:secret\n"])

    def read() -> str:
        text = tokens.read_text()
        for later in texts:
            replace(tokens, later)
            break
        if text.startswith("second"):
            raise ConfigurationError("half of the second, half of the third")
        return text

    latest = Source((tokens,), read)
    looks = [latest.look(at_once=False) for _ in range(5)]
    assert (looks, latest.wrong) == ([False, False, False, True, False], None)
    assert latest.value == "third:secret\n"


async def answer(service: Service, token: str) -> int:
    """Return the status of an upgrade with this token."""
    return (await service.answer(f"/ws/audio?{TOKEN}{token}"))[0]


async def reloaded(service: Service, outcome: str = "ok", times: int = 1) -> None:
    await service.metric_becomes(f'rt_audio_reloads_total{{outcome="{outcome}"}}', times)


async def test_handlers_that_have_all_threads_delay_no_reload(tokens: Path) -> None:
    async with serving(tokens_file=tokens) as service:
        threads = trio.to_thread.current_default_thread_limiter()
        handlers = [object() for _ in range(int(threads.available_tokens))]
        for handler in handlers:
            threads.acquire_on_behalf_of_nowait(handler)
        replace(tokens, "acme:third\n")
        terminate(signal.SIGHUP)
        with trio.fail_after(5):
            await reloaded(service)
        assert await answer(service, "third") == 101


async def test_sighup_takes_new_tokens_and_calls_of_the_old_ones_go_on(tokens: Path) -> None:
    async with serving(tokens_file=tokens) as service:
        call = await service.call(f"{TOKEN}first")
        replace(tokens, "acme:third\nsecond\n")
        terminate(signal.SIGHUP)
        await reloaded(service)
        assert [await answer(service, each) for each in ("first", "second", "third")] == [
            401, 101, 101,
        ]  # fmt: skip
        assert await call.ask(b"on") == b"on"


async def test_the_calls_of_a_revoked_token_end_where_that_is_set(tokens: Path) -> None:
    async with serving(tokens_file=tokens, end_revoked=True) as service:
        revoked = [await service.call(f"{TOKEN}first") for _ in range(20)]
        other = await service.call(f"{TOKEN}second")
        replace(tokens, "# gone\nacme:third\nsecond\n")
        terminate(signal.SIGHUP)
        for call in revoked:
            assert await call.hung_up() == (1008, "the token was revoked")
        assert await other.ask(b"on") == b"on"
        await service.metric_becomes(
            'rt_audio_sessions_total{dialect="raw",outcome="dismissed"}', 20
        )


async def test_a_wrong_file_keeps_the_old_tokens_and_a_metric_says_so(
    tokens: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tokens_file=tokens, end_revoked=True) as service:
        assert await service.metric("rt_audio_last_reload_successful") == 1
        call = await service.call(f"{TOKEN}first")
        replace(tokens, "a secret\n")
        terminate(signal.SIGHUP)
        await reloaded(service, "failed")
        assert await service.metric("rt_audio_last_reload_successful") == 0
        assert await answer(service, "second") == 101
        assert await call.ask(b"on") == b"on"
        replace(tokens, "first\n")
        terminate(signal.SIGHUP)
        await reloaded(service)
        assert await service.metric("rt_audio_last_reload_successful") == 1
    said = "".join(capsys.readouterr())
    assert f"RT_AUDIO_TOKENS_FILE={tokens}: line 1, column 2: a token has" in said
    assert "a secret" not in said


async def test_a_change_is_taken_without_a_signal(
    tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "LOOK_SECONDS", 0.05)
    async with serving(tokens_file=tokens) as service:
        replace(tokens, "third\n")
        await reloaded(service)
        assert await answer(service, "third") == 101


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Return a folder as Kubernetes mounts it, which shows the first of two secrets of Telnyx."""
    for number, secret in enumerate(("sesame-1", "sesame-2")):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "telnyx").write_text(f"{secret}\n")
    (tmp_path / "..data").symlink_to("..0")
    (tmp_path / "telnyx").symlink_to("..data/telnyx")
    return tmp_path


def swap(folder: Path) -> None:
    """Have the folder show its second secret, as a kubelet does it."""
    (folder / "..data_tmp").symlink_to("..1")
    (folder / "..data_tmp").rename(folder / "..data")


def known(vouching: Vouching, *secrets: str) -> list[bool]:
    """Return of each secret whether it vouches for a claim to come from Telnyx."""
    header = b"x-telnyx-streaming-auth-token"
    return [
        vouching.vouches(Claim("telnyx", "/ws/telnyx", b"", [(header, secret.encode())]))
        for secret in secrets
    ]


def test_a_changed_secret_is_taken_and_a_dialect_that_had_one_keeps_it(secrets: Path) -> None:
    source = Files(Settings(secrets_dir=secrets)).secrets
    assert source is not None
    assert known(source.value, "sesame-1", "sesame-2") == [True, False]
    swap(secrets)
    assert [source.look(at_once=False) for _ in range(3)] == [False, True, False]
    assert known(source.value, "sesame-1", "sesame-2") == [False, True]
    (secrets / "telnyx").write_text("sesame-3\n")  # in place: only the file's own state tells of it
    assert [source.look(at_once=False) for _ in range(3)] == [False, True, False]
    assert known(source.value, "sesame-2", "sesame-3") == [False, True]
    (secrets / "asterisk").write_text("user:secret\n")
    assert [source.look(at_once=False) for _ in range(3)] == [False, True, False]
    assert list(source.value.dialects) == ["asterisk", "telnyx"]
    (secrets / "asterisk").unlink()
    assert [source.look(at_once=False) for _ in range(3)] == [False, True, False]
    assert "asterisk is missing" in str(source.wrong)
    (secrets / "asterix").write_text("user:secret\n")
    assert [source.look(at_once=False) for _ in range(3)] == [False, True, False]
    assert "'asterix' is no dialect" in str(source.wrong)
    assert list(source.value.dialects) == ["asterisk", "telnyx"]


def test_a_new_secret_that_needs_the_public_url_is_not_taken_without_it(secrets: Path) -> None:
    source = Files(Settings(secrets_dir=secrets)).secrets
    assert source is not None
    (secrets / "twilio").write_text("secret\n")
    assert source.look(at_once=True)
    assert "RT_AUDIO_PUBLIC_URL" in str(source.wrong)
    assert list(source.value.dialects) == ["telnyx"]


async def test_sighup_takes_new_secrets_and_no_line_shows_one(
    secrets: Path, capfd: pytest.CaptureFixture[str], set_up_logs: Callable[[str, str], None]
) -> None:
    set_up_logs("debug", "json")
    async with serving(secrets_dir=secrets, log_level="debug", dialects="telnyx") as service:

        async def answers(secret: str) -> int:
            header = f"X-Telnyx-Streaming-Auth-Token: {secret}\r\n"
            return (await service.answer("/ws/telnyx", header))[0]

        assert [await answers(f"sesame-{number}") for number in (1, 2)] == [101, 401]
        swap(secrets)
        terminate(signal.SIGHUP)
        await reloaded(service)
        assert [await answers(f"sesame-{number}") for number in (1, 2)] == [401, 101]
        [line] = entries(capfd, "reloaded")
        assert (line["file"], line["dialects"]) == ("secrets", "telnyx")
        (secrets / "vonage").write_text("two sesame\n")
        terminate(signal.SIGHUP)
        await reloaded(service, "failed")
        assert await service.metric("rt_audio_last_reload_successful") == 0
        metrics = (await service.get("/metrics"))[1]
    said = shown(capfd)
    assert f"RT_AUDIO_SECRETS_DIR={secrets}: vonage, line 1: must be a secret in visible" in said
    assert "sesame" not in said + metrics


def become_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


async def test_a_disk_that_does_not_answer_delays_nobody(tokens: Path) -> None:
    """A pipe without a writer takes the part of the disk: reading from it waits."""
    async with serving(tokens_file=tokens) as service:
        call = await service.call(f"{TOKEN}first")
        become_a_pipe(tokens)
        terminate(signal.SIGHUP)
        with trio.fail_after(5):  # the pipe has a reader once the service reads it
            while True:
                try:
                    writer = os.open(tokens, os.O_WRONLY | os.O_NONBLOCK)
                    break
                except OSError:
                    await trio.lowlevel.checkpoint()
        assert await call.ask(b"on") == b"on"
        assert (await service.get("/health"))[0] == 200
        assert await answer(service, "second") == 101
        terminate()
        with trio.fail_after(3):
            await call.leave()
            await service.stopped.wait()
        os.close(writer)


def issue(folder: Path, until: datetime) -> None:
    """Put a certificate and its key into the folder."""
    leaf = certificate_authority().issue_cert("localhost", not_after=until)
    replace(folder / "cert.pem", leaf.cert_chain_pems[0].bytes().decode())
    replace(folder / "key.pem", leaf.private_key_pem.bytes().decode())


async def expiry(service: Service) -> float:
    """Return when the certificate expires that a newcomer is shown."""
    stream = await service.connect()
    assert isinstance(stream, trio.SSLStream)
    await stream.do_handshake()
    shown = stream.getpeercert()["notAfter"]
    await stream.aclose()
    return ssl.cert_time_to_seconds(shown)


async def test_a_new_certificate_is_for_newcomers_and_calls_go_on(tmp_path: Path) -> None:
    first, second = datetime(2049, 1, 2, tzinfo=UTC), datetime(2051, 3, 4, tzinfo=UTC)
    metric = "rt_audio_certificate_expiry_timestamp_seconds"
    issue(tmp_path, first)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    async with serving(tls_cert_file=cert, tls_key_file=key) as service:
        call = await service.call()
        assert await expiry(service) == await service.metric(metric) == first.timestamp()
        issue(tmp_path, second)
        terminate(signal.SIGHUP)
        await service.metric_becomes(metric, second.timestamp())
        assert await expiry(service) == second.timestamp()
        replace(key, "no key\n")
        terminate(signal.SIGHUP)
        await reloaded(service, "failed")
        assert await expiry(service) == second.timestamp()
        assert await call.ask(b"on") == b"on"


async def test_without_tls_no_certificate_expires() -> None:
    async with serving() as service:
        assert "rt_audio_certificate" not in (await service.get("/metrics"))[1]
