"""TCP connections to hosts, but not to addresses that only make sense within one link or one cloud machine."""

import socket
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from portal.core import tracing

#: Metadata services of clouds beyond the link-local ones; they hand out credentials of the machine.
_METADATA = ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
#: Prefixes whose last 32 bits are an IPv4 address: IPv4-compatible, NAT64 (RFC 6052, RFC 8215).
_WITH_IPV4 = tuple(map(IPv6Network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48")))


#: After this time without an acknowledgment the kernel drops what was sent, also after the socket was closed.
_UNACKNOWLEDGED_MILLISECONDS = 25_000
_internal: tuple[IPv4Network | IPv6Network, ...] = ()


class ForbiddenAddress(OSError):
    """The host name resolves only to addresses that the portal does not connect to."""

    def __init__(self, address: str, reason: str) -> None:
        text = f"{address} is {reason}; the portal does not connect to it"
        super().__init__(text)
        self.strerror = text


def allow_internal(networks: Sequence[str]) -> None:
    """Set the internal networks that this process may connect to (PORTAL_INTERNAL_NETWORKS); empty: any."""
    global _internal
    _internal = tuple(ip_network(text) for text in networks)


def connect(host: str, port: int, seconds: float) -> socket.socket:
    """Connect to the first address of the host that answers. OSError as ``socket.create_connection``.

    The address is checked after the name was resolved and is the one that is connected to, so that a name that
    resolves differently each time changes nothing. Small packets are sent at once.
    """
    with tracing.span("connect", host=host, port=port):
        return _connected(host, port, seconds)


def _connected(host: str, port: int, seconds: float) -> socket.socket:
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if reason := objection(str(address[0])):
            failure = ForbiddenAddress(str(address[0]), reason)
            continue
        opened = socket.socket(family, kind, protocol)
        try:
            # Otherwise a body waits until the server has acknowledged its header: 40 ms for each request.
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A request that a broken link held back must not arrive after it was given up and sent again.
            if sys.platform == "linux":
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MILLISECONDS)
            opened.settimeout(seconds)
            opened.connect(address)
        except OSError as error:
            opened.close()
            failure = error
        else:
            return opened
    raise failure


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address to which an IPv6 address leads, otherwise the address itself."""
    if isinstance(address, IPv4Address) or address.is_loopback or address.is_unspecified:
        return address
    inside = address.ipv4_mapped or address.sixtofour
    if inside is None and any(address in network for network in _WITH_IPV4):
        inside = IPv4Address(int(address) & 0xFFFFFFFF)
    return inside or address


def objection(address: str) -> str | None:
    """Return what the address is that the portal does not connect to; None: the portal does."""
    inner = _embedded(ip_address(address.partition("%")[0]))
    is_special = inner.is_link_local or inner.is_multicast or inner.is_unspecified
    if is_special or str(inner) in _METADATA:
        return "a link-local or metadata address"
    if _internal and not inner.is_global and not any(inner in network for network in _internal):
        return "an internal address that PORTAL_INTERNAL_NETWORKS does not list"
    return None
