"""Callers that only listen: they note when each frame of a handler's audio comes."""

import select
import socket
import statistics
import time

from harness.abuse import upgrade

FRAME_SECONDS = 0.02


def listen(port: int, callers: int, seconds: float) -> tuple[int, float, float]:
    """Call so many times; return the frames heard, and how late they were: median and p99, in ms.

    A frame is late against the caller's own best frame: each should come 20 ms after the one
    before. The first second, with the lead and the start of all calls, does not count.
    """
    epoll, sockets = select.epoll(), {}
    for _ in range(callers):
        caller = socket.create_connection(("127.0.0.1", port))
        caller.sendall(upgrade())
        caller.setblocking(False)
        sockets[caller.fileno()] = caller
        epoll.register(caller, select.EPOLLIN)
        # Real callers do not all come in one millisecond.
        time.sleep(1 / callers)
    came: dict[int, list[float]] = {descriptor: [] for descriptor in sockets}
    held = dict.fromkeys(sockets, 0)
    begin = time.monotonic() + 1
    while (now := time.monotonic()) < begin + seconds:
        for descriptor, _ in epoll.poll(0.1):
            now = time.monotonic()
            held[descriptor] += len(sockets[descriptor].recv(65536))
            while held[descriptor] >= 324:
                held[descriptor] -= 324
                if now > begin:
                    came[descriptor].append(now)
    for caller in sockets.values():
        caller.close()
    late = []
    for times in came.values():
        starts = [at - number * FRAME_SECONDS for number, at in enumerate(times)]
        late += [(start - min(starts)) * 1000 for start in starts]
    return len(late), statistics.median(late), statistics.quantiles(late, n=100)[98]
