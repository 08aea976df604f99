"""The whole server in this process, on a free port: the one way to start it here."""

import os
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import trio

from service.config import Settings
from service.server import Ports, serve
from tests.peers.certificates import certificate, certificate_authority
from tests.peers.reach import Service


class Started(Service):
    """A server in this process; `in_full` is what `serve` returned, `admin` the admin listener."""

    def __init__(self, context: ssl.SSLContext | None, running: trio.CancelScope) -> None:
        super().__init__(0, context)
        self.admin: Service | None = None
        self.stop = running.cancel
        self.stopped = trio.Event()
        self.in_full: bool | None = None


async def start(
    nursery: trio.Nursery, tls: bool = False, host: str = "127.0.0.1", **settings: Any
) -> Started:
    """Have the whole server on a free port for as long as the nursery is there."""
    context = None
    with ExitStack() as files:
        if tls:
            pem = files.enter_context(certificate().private_key_and_cert_chain_pem.tempfile())
            settings |= {"tls_cert_file": pem, "tls_key_file": pem}
        if settings.get("tls_cert_file") is not None:
            # A context by default would read all of the system's authorities first.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            certificate_authority().configure_trust(context)
        service = Started(context, running := trio.CancelScope())

        async def run(task_status: trio.TaskStatus[Ports]) -> None:
            with running:
                service.in_full = await serve(
                    Settings(host=host, port=0, **settings), task_status=task_status
                )
            service.stopped.set()

        # The files may go then: the server reads them as it starts.
        service.port, admin = await nursery.start(run)
        service.admin = None if admin is None else Service(admin)
    return service


@asynccontextmanager
async def serving(tls: bool = False, **settings: Any) -> AsyncIterator[Started]:
    """Have the whole server on a free port until the block ends."""
    async with trio.open_nursery() as nursery:
        service = await start(nursery, tls, **settings)
        yield service
        await service.hang_up()
        if service.admin is not None:
            await service.admin.hang_up()
        service.stop()


def terminate(number: int = signal.SIGTERM) -> None:
    """Send this very process a signal; a running serve() is listening."""
    os.kill(os.getpid(), number)
