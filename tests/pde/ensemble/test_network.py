"""Where the process that hands out samples listens: the networks that hosts share, alone."""

import socket
from ipaddress import IPv4Interface

import pytest

from surrogates.errors import InputError
from surrogates.pde.ensemble.network import addresses, interfaces


def host(**about: str) -> dict[str, IPv4Interface]:
    return {"lo": IPv4Interface("127.0.0.1/8"), **{k: IPv4Interface(v) for k, v in about.items()}}


def cluster(*about: str) -> list[dict[str, IPv4Interface]]:
    """Two hosts with interfaces in the same networks, each of which has a * in its addresses."""
    return [
        host(**{f"net{k}": text.replace("*", str(n)) for k, text in enumerate(about)})
        for n in (1, 2)
    ]


def test_the_interfaces_of_this_host_have_the_loopback():
    assert IPv4Interface("127.0.0.1/8") in interfaces().values()


def test_one_host_needs_no_network():
    assert addresses([host(eth0="10.0.0.1/24")]) == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("hosts", "chosen"),
    [
        (cluster("10.0.0.*/24"), ["10.0.0.1"]),
        # A bridge of each host's own looks the same everywhere.
        (cluster("172.17.0.1/16", "10.0.0.*/24"), ["10.0.0.1"]),
        # What only one of them has, or where they have other networks.
        ([host(a="192.168.7.1/24", b="10.0.0.1/24"), host(b="10.0.0.2/24")], ["10.0.0.1"]),
        (
            [host(a="192.168.7.1/24", b="10.0.0.1/24"), host(a="192.168.8.2/24", b="10.0.0.2/24")],
            ["10.0.0.1"],
        ),
        (cluster("8.8.8.*/24", "10.0.0.*/24"), ["10.0.0.1"]),
        (cluster("8.8.8.*/24"), ["8.8.8.1"]),
        (cluster("10.0.0.*/24", "10.1.0.*/24"), ["10.0.0.1", "10.1.0.1"]),
    ],
)
def test_several_hosts_use_the_networks_that_they_share(hosts, chosen):
    assert addresses(hosts) == chosen


@pytest.mark.parametrize("named", ["net1", "10.1.0.1"])
def test_an_interface_may_be_named(named):
    assert addresses(cluster("10.0.0.*/24", "10.1.0.*/24"), named) == ["10.1.0.1"]


def test_a_name_that_no_interface_has_is_one_line():
    match = r"no interface 'ib0'; it has lo \(127.0.0.1\), net0 \(10.0.0.1\)"
    with pytest.raises(InputError, match=match):
        addresses(cluster("10.0.0.*/24"), "ib0")


def test_hosts_without_a_common_network_use_the_address_that_leads_out():
    mine = interfaces()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        try:
            out.connect(("198.51.100.1", 9))
        except OSError as error:
            pytest.skip(f"nothing leads out of this host: {error}")
        leading = out.getsockname()[0]
    assert addresses([mine, host(eth0="10.99.99.2/30")]) == [leading]


def test_hosts_of_which_none_can_be_reached_are_one_line():
    with pytest.raises(InputError, match="the hosts share no network; name an interface"):
        addresses([host(eth0="10.99.98.1/30"), host(eth0="10.99.99.2/30")])
