"""Names by which clients may call the server.

A page in a browser on this machine can reach the server under a name of its own that resolves to
127.0.0.1 (DNS rebinding), and then read the replies. Therefore the Host of a request must be an
address, localhost, this machine's name, the name that the server listens at, or an allowed name.
Addresses need no check: a page cannot change the name that its browser sends. The port is not
compared, because a tunnel has another one.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence

from surrogates.config import check


def check_hosts(names: Sequence[str]) -> None:
    """Refuse names of hosts that no request could have.

    Raises:
        InputError: If one is no name or address, or has a port.
    """
    for name in names:
        fits = plain(name) == name.lower().rstrip(".") and name.strip() == name != ""
        check(
            fits, f"cannot allow the host {name!r}: expected a name or an address, without a port"
        )


def allowed(names: Sequence[str]) -> Callable[[str], bool]:
    """Return the test whether a Host is allowed; ``names`` are allowed beside the usual ones."""
    known = {plain(name) for name in ("localhost", socket.gethostname(), *names)} - {""}

    def is_allowed(host: str) -> bool:
        name = plain(host)
        return name in known or _is_address(name)

    return is_allowed


def plain(host: str) -> str:
    """Return a Host without its port, in small letters; empty if it is not a host."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name = host if _is_address(host) else host.partition(":")[0]
    return name.rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
