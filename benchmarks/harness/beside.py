"""Callers that misbehave, all in one process of their own."""

import contextlib
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection

import trio

from harness.servers import Server
from tests.peers.abuse import Callers, Count, calling

#: The good streams' process shares the core, and must never wait for this one (see nice(2)).
BEHIND = 10


async def run(port: int, who: Callers, pipe: Connection) -> None:
    """Run the callers until a word comes through the pipe; answer with counts."""
    os.nice(BEHIND)
    async with calling(port, who) as counts:
        pipe.send("begun")
        await trio.lowlevel.wait_readable(pipe.fileno())
    pipe.send(counts)


@contextlib.contextmanager
def beside(server: Server, who: Callers) -> Iterator[dict[str, Count]]:
    """Run the callers for the time of the block, which fills in what they did.

    The block begins when every caller has upgraded and has sent all of its `first`. The process
    is on the core of this one.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (run, server.port, who, theirs)
    callers = context.Process(target=trio.run, args=arguments, daemon=True)
    callers.start()
    counts: dict[str, Count] = {}
    try:
        ours.recv()
        yield counts
        ours.send("end")
        counts |= ours.recv()
    finally:
        callers.kill()
        callers.join()
