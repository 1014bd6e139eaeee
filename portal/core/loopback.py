"""Hosts that never leave this machine, for which TLS is not required."""

import ipaddress

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str | None) -> bool:
    """Whether the host name or address, as entered, is this machine; no name is resolved."""
    return host in _LOOPBACK


def is_address(host: str | None) -> bool:
    """Whether the host is an IP address, not a name."""
    try:
        return bool(ipaddress.ip_address(host or ""))
    except ValueError:
        return False
