"""Choose the addresses at which the dispatcher listens: only those in the hosts' networks."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Interface

from surrogates.errors import InputError

_SIOCGIFADDR, _SIOCGIFNETMASK = 0x8915, 0x891B  # of Linux, see netdevice(7)
LOOPBACK = "127.0.0.1"

Interfaces = Mapping[str, IPv4Interface]
"""Names of a host's network interfaces, with address and network."""


def interfaces() -> dict[str, IPv4Interface]:
    """List the interfaces of this host that have an IPv4 address."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            with contextlib.suppress(OSError):  # it has no such address
                address, mask = (
                    socket.inet_ntoa(fcntl.ioctl(asked.fileno(), kind, request)[20:24])
                    for kind in (_SIOCGIFADDR, _SIOCGIFNETMASK)
                )
                found[name] = IPv4Interface(f"{address}/{mask}")
    return found


def addresses(hosts: Sequence[Interfaces], named: str = "") -> list[str]:
    """Choose the addresses of the first host at which the others reach it.

    Args:
        hosts: The interfaces of each host.
        named: Name or address of the interface of the first host to use; the choice is free if
            empty.

    Returns:
        The loopback address if there is one host; else the address in each network of all hosts,
        without bridges that look the same on each host, such as docker0, and only in private
        networks if there are any. If there is no such network, for example because packets are
        routed between hosts, the address of the first host's outgoing route.

    Raises:
        InputError: If there is no interface of that name, or none can be chosen.
    """
    mine = {name: about for name, about in hosts[0].items() if not about.ip.is_loopback}
    if named:
        for name, about in hosts[0].items():
            if named in (name, str(about.ip)):
                return [str(about.ip)]
        known = ", ".join(f"{name} ({about.ip})" for name, about in hosts[0].items())
        raise InputError(f"rank 0's host has no interface {named!r}; it has {known or 'none'}")
    if len(hosts) == 1:
        return [LOOPBACK]
    taken = Counter(about.ip for host in hosts for about in set(host.values()))
    everywhere = set.intersection(*({about.network for about in host.values()} for host in hosts))
    shared = [
        about.ip for about in mine.values() if about.network in everywhere and taken[about.ip] == 1
    ]
    chosen = [ip for ip in shared if ip.is_private] or shared
    if not chosen:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.connect(("192.0.2.1", 9))  # sends nothing, but selects the address
            leading = out.getsockname()[0]
            chosen = [about.ip for about in mine.values() if str(about.ip) == leading]
    if not chosen:
        raise InputError("the hosts share no network; name an interface of rank 0's: --interface")
    return [str(ip) for ip in chosen]
