"""What README.md prints, to be run or read by tests.

Only the standard library is imported here, so that `make demo` needs no test packages.
"""

import re
from pathlib import Path

from tests.peers.processes import ROOT


def readme() -> str:
    """Return the README at the top."""
    return (ROOT / "README.md").read_text()


def chapter(heading: str) -> str:
    """Return the README's text under a heading, as `## Write a bot`, up to the next like it."""
    level = heading.partition(" ")[0]
    _, _, rest = readme().partition(f"\n{heading}\n")
    return re.split(rf"^#{{2,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def blocks(text: str, language: str = r"\w+") -> list[str]:
    """Return the insides of the text's blocks in a language, or in any."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def write_bots(folder: Path) -> None:
    """Write each Python block of the README that begins with a file's name to that file."""
    for block in blocks(readme(), "python"):
        if named := re.match(r"# (\w+\.py)\n", block):
            (folder / named[1]).write_text(block)
