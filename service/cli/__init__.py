"""The command line: `rt-audio serve`, `stream` and `probe`, each in a file of its name.

Options, progress and exit statuses live here only. A status is 0 for success, 1 for a failure with
one sentence, 2 for a wrong option or setting, and 130 for Ctrl-C.
"""

import click

from service import __version__
from service.cli.probe import probe
from service.cli.serve import serve
from service.cli.stream import stream


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rt-audio", message="%(prog)s %(version)s")
def main() -> None:
    """Serve audio over WebSocket, stream files to it, and check that it does what it should."""


main.add_command(serve)
main.add_command(stream)
main.add_command(probe)
