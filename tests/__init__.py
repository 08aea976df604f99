"""The tests. Read this first, and write new tests by these rules.

Read them in this order; each step needs only the steps before it:

1. test_layers                      the rooms of the house, and which may know which
2. codec, audio                     samples: bytes in, bytes out
3. websocket, net/test_talk         frames, and the rule book of a conversation, without I/O
4. calls                            what a call does, without a link
5. calls/test_calls, test_handled   the same over every link; `peers/calling.py` lists the links
   handlers                         what a handler can do with its call; `peers/bots.py` has one
6. net                              what a single link, the pump or a connection adds
7. web, client                      the app over ASGI events; our client, in memory
8. test_server, test_tracing, test_cli   the server in this process; the command line as processes
9. test_stack                       the packages below, as far as the service relies on them
10. console, deploy                 Chromium, Prometheus, HAProxy: marked `integration`

`peers` has what stands at the other end. A server in this process is started by
`peers/serving.py`; a process, by `peers/processes.py`. The benchmarks, too, use `peers/abuse.py`
and what it needs.

The rules:

- A test owns its network: memory streams, or loopback with port 0. Nothing leaves the machine.
- A test owns its time: time is an argument, or Trio's clock jumps. Where a real socket must run
  into a real deadline, the deadline is a setting of a few tenths of a second, and only the order
  of events is checked. Every wait for an event has a limit, which only a failure reaches.
- No test sleeps to wait, and none spins. Only `until` looks again and again, in
  `peers/processes` at a program and in `peers/reach` at a page: they cannot notify us.
- No test measures speed: the benchmarks do.
- One side owns the close: a test says which side ends a connection, and checks that the other
  side sees it.
- A test uses public doors. Two exceptions are in net/test_connection.py: the deadlines of a
  TLS handshake (10 s) and of a request (60 s) are no settings, so the tests shorten them.
- The real part runs. A test replaces a part only to make it fail, or to have no network.
- A new test must fail when the code is broken: break the code once to see it.
- A rule is tested once, where it lives. Another layer is tested for what it adds.
"""
