"""The user's handler, found by its name; whoever mistypes it reads one sentence."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.config import ConfigurationError
from service.handlers.load import load

BOT = "async def answer(call): pass\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty working directory, and forget the modules that were found there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.mark.parametrize(("name", "file", "source"), [
    ("mybot:answer", "mybot.py", BOT),
    ("mybots.first:answer", "mybots/first.py", BOT),
    ("mybot:answer", "mybot.py", "async def answer(call, *more, mood='good'): pass"),
    ("mybot:answer", "mybot/__init__.py", "from mybot.inner import answer"),
])  # fmt: skip
def test_a_handler_is_found_from_the_working_directory(
    name: str, file: str, source: str, here: Path
) -> None:
    (here / file).parent.mkdir(exist_ok=True)
    (here / file).write_text(source)
    (here / file).with_name("inner.py").write_text(BOT)
    assert callable(load(name))


@pytest.mark.parametrize(("name", "source", "sentence"), [
    ("nobot:answer", BOT, "there is no module nobot in {here}"),
    ("mybot.py:answer", BOT, "there is no module mybot.py in {here}; without .py?"),
    ("mybot.inner:answer", BOT, "there is no module mybot.inner in {here}"),
    ("mybot:anser", BOT, "mybot has no anser; answer?"),
    ("mybot:other", BOT, "mybot has no other"),
    ("sys:answer", "", "sys has no answer"),
    ("here:answer", "", "here has no answer"),
    ("mybot:answer", "def answer(call): pass", "answer is not an async function"),
    ("mybot:answer", "answer = 1", "answer is not an async function"),
    ("mybot:answer", "async def answer(call): yield", "answer is not an async function"),
    ("mybot:answer", "async def answer(): pass", "answer must take one argument, the call"),
    ("mybot:answer", "async def answer(a, b): pass", "answer must take one argument, the call"),
    ("mybot:answer", "async def answer(*, call): pass", "answer must take one argument, the call"),
    ("mybot:answer", "import nomodule", "importing mybot failed: No module named 'nomodule'"),
    ("mybot:answer", "\n1 / 0",
     "importing mybot failed: ZeroDivisionError: division by zero ({here}/mybot.py, line 2)"),
    ("mybot:answer", "import wave\nwave.open('no.wav')",
     "importing mybot failed: FileNotFoundError: [Errno 2] No such file or directory: 'no.wav' "
     "({here}/mybot.py, line 2)"),
    ("mybot:answer", "async def answer(call)\n",
     "importing mybot failed: SyntaxError: expected ':' ({here}/mybot.py, line 1)"),
    ("mybot:answer", "from mybot import nothing", "importing mybot failed: ImportError: cannot "
     "import name 'nothing' from partially initialized module 'mybot' (most likely due to a "
     "circular import) ({here}/mybot.py) ({here}/mybot.py, line 1)"),
    ("mybot:answer", "import sys; sys.exit(3)",
     "importing mybot failed: SystemExit: 3 ({here}/mybot.py, line 1)"),
    ("mybot:answer", "raise ValueError('two\\nlines')",
     "importing mybot failed: ValueError: two lines ({here}/mybot.py, line 1)"),
])  # fmt: skip
def test_what_is_wrong_with_it_is_said_in_one_line(
    name: str, source: str, sentence: str, here: Path
) -> None:
    (here / "mybot.py").write_text(source)
    (here / "here").mkdir()
    with pytest.raises(ConfigurationError) as error:
        load(name)
    assert str(error.value) == f"RT_AUDIO_HANDLER={name}: {sentence.format(here=here)}"


def test_the_command_line_stops_with_that_line_and_exit_code_2(here: Path) -> None:
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--handler", "nobot:answer"]
    result = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    [line] = (result.stdout + result.stderr).splitlines()
    assert f"RT_AUDIO_HANDLER=nobot:answer: there is no module nobot in {here}" in line
