"""Connections without TLS: only to this host, and to the hosts of the setting ``UnencryptedHosts``."""

from portal.core.language import Text, _
from portal.core.loopback import is_loopback
from portal.system import settings


def is_allowed(host: str | None) -> bool:
    """Whether mail and calls may be sent to this host without TLS."""
    return is_loopback(host) or (host or "").lower() in settings.unencrypted_hosts()


def problem(host: str | None, what: str) -> str | None:
    """Return why ``what`` may not be sent to the host without TLS; None if it may."""
    if is_allowed(host):
        return None
    return _(
        "{host} would receive {what} without TLS. Use TLS, or enter the host in the setting UnencryptedHosts.",
        host=host,
        what=Text(what),
    )
