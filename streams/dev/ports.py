"""Loopback ports: is one free, and which one is."""

import errno
import itertools
import random
import socket

from streams.errors import SetupError

HOST = "127.0.0.1"

_BELOW_EPHEMERAL = range(20_000, 32_000)
"""Where servers with a chosen port are safe from the kernel, which gives ports above to outgoing connections:
a broker that is stopped and started again must find its port still free."""


def free_ports(count: int, but_not: frozenset[int] = frozenset()) -> list[int]:
    """Return `count` distinct loopback ports that nobody listens on now. Nothing reserves them."""
    tried = random.sample(_BELOW_EPHEMERAL, k=200 + count)
    free = itertools.islice((port for port in tried if port not in but_not and not in_use(port)), count)
    if len(found := list(free)) < count:
        raise SetupError("No free loopback port was found in 200 tries between 20000 and 32000. What holds them all?")
    return found


def in_use(port: int) -> bool:
    """Return whether a server could not be started on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        if probe.connect_ex((HOST, port)) == 0:
            return True
    with socket.socket() as probe:
        # As Java's servers do: connections that linger from an earlier server are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            return True
    return False


def require_free(port: int, what: str, flag: str) -> None:
    """Raise SetupError, with who may hold it and how to choose another, unless the port is free."""
    if in_use(port):
        raise SetupError(
            f"Port {port}, where {what} should listen, is in use on {HOST}. See by whom with "
            f"`lsof -nP -iTCP:{port} -sTCP:LISTEN`. If it is a stack that was started from another folder: "
            f"`streams dev down --dir THAT_FOLDER/.answeronce/dev`. Or choose another port with {flag}."
        )
