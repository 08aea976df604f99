"""`rt-audio serve --reload`, as a process."""

import signal
import subprocess
import sys
from pathlib import Path

import trio

from tests.peers.callers import HungUp
from tests.peers.processes import RT_AUDIO, Served, serving
from tests.peers.reach import Service

SAYS = "async def answer(call):\n    call.hang_up(reason={!r})\n"


async def reason_of(served: Served) -> str:
    """Return with which reason the handler of now hangs up."""
    service = Service(served.port)
    with trio.fail_after(30):
        caller = await service.call()
        try:
            raise AssertionError(await caller.receive())
        except HungUp as end:
            await service.hang_up()
            return end.reason


async def test_changed_code_runs_and_broken_code_is_told_in_one_line(tmp_path: Path) -> None:
    bot = tmp_path / "bot.py"
    bot.write_text(SAYS.format("one"))
    within = ("env", "-C", tmp_path)
    with serving(0, "--handler", "bot:answer", "--reload", within=within) as served:
        assert await reason_of(served) == "one"

        bot.write_text(SAYS.format("two") + ")")
        assert served.logged("reloading")["changed"] == [str(bot)]
        told = served.found("^Error: RT_AUDIO_HANDLER=bot:answer: (.*); waiting for a change")
        assert "unmatched ')'" in told
        assert "bot.py, line 3" in told

        bot.write_text(SAYS.format("three"))
        served.port = served.logged("listening")["port"]
        assert await reason_of(served) == "three"

        served.process.send_signal(signal.SIGTERM)
        assert served.status() == 0
        assert "Traceback" not in "".join(served.log)


def test_a_process_that_waits_for_a_change_ends_at_a_signal(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text("1 / 0\n")
    command = (*RT_AUDIO, "serve", "--port", "0", "--handler", "bot:answer", "--reload")
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        process.terminate()
        assert process.stderr.read() == ""
    assert told.endswith(
        "importing bot failed: ZeroDivisionError: division by zero "
        f"({tmp_path}/bot.py, line 1); waiting for a change\n"
    )
    assert process.returncode == 0


def test_without_watchfiles_the_extra_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['watchfiles'] = None; import service.cli as cli; cli.main()"
    ran = subprocess.run(
        (sys.executable, "-c", code, "serve", "--port", "0", "--reload"),
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (
        2,
        "Error: --reload needs watchfiles: pip install 'rt-audio-pipeline[reload]'\n",
    )
