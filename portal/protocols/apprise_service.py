"""Messages to the services that Apprise knows, such as Teams, Slack, Matrix, ntfy or a webhook.

Apprise and its plugins are imported when they are first needed: most processes send no such message. Apprise connects
on its own, without PORTAL_CA_FILE; the address is checked before.
"""

import logging
import re
import socket
import threading
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from portal.core.encryption import Secret
from portal.core.errors import Refused, Unavailable
from portal.core.language import _
from portal.core.loopback import is_loopback
from portal.protocols import tcp

#: Services of the portal's own host.
_LOCAL = ("dbus", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows")
#: Options that switch the check of the certificate off, or name files of the portal's host.
_FORBIDDEN = ("verify", "template", "keyfile", "attach")
_LONGEST = 500
#: The log of Apprise is captured for one message at a time.
_one_at_a_time = threading.Lock()


def url_problem(url: Secret, unencrypted: list[str]) -> str | None:
    """The reason why this is no URL of a service in the network; None: it is one.

    ``unencrypted``: hosts that may be reached without TLS, beside this host.
    """
    parts = urlsplit(url.reveal())
    if parts.scheme.lower() in _LOCAL:
        return _("This service is on the portal's own host.")
    if found := sorted(set(_FORBIDDEN) & {name.lower() for name in parse_qs(parts.query, keep_blank_values=True)}):
        return _("The option {name} is not allowed.", name=found[0])
    service = _service(url)
    if service is None:
        return _("Apprise does not know this URL. Examples: ntfys://host/topic, matrixs://user:password@host/#room.")
    host = _host(service)
    if host and not service.secure and not is_loopback(host) and host not in unencrypted:
        return _(
            "This URL sends without TLS. Use the variant with s, such as ntfys, or enter the host in UnencryptedHosts."
        )
    return None


def masked(url: Secret) -> str:
    """The kind of service and its host."""
    service = _service(url)
    if service is None:
        raise Refused(_("Apprise does not know this URL."))
    return f"{service.service_name} {_host(service)}".strip()


class Kind(StrEnum):
    """What a message is about; services show it as a color or an icon."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


def send(url: Secret, title: str, body: str, kind: Kind) -> None:
    """Send one message. Raise Unavailable, with the reason, if the service does not accept it."""
    import apprise

    service = _service(url)
    if service is None:
        raise Unavailable("Apprise does not know the URL of the channel; enter it again.")
    _require_allowed(_host(service))
    sender = apprise.Apprise()
    sender.add(service)
    capture = apprise.LogCapture(level=logging.WARNING, fmt="%(message)s")  # type: ignore[no-untyped-call]
    with _one_at_a_time, capture as log:
        is_accepted = sender.notify(
            body=body, title=title, body_format=apprise.NotifyFormat.TEXT, notify_type=apprise.NotifyType(kind.value)
        )
        told = " ".join(log.getvalue().split())
    if not is_accepted:
        raise Unavailable(f"The service did not accept the message. {without_secrets(url, told)}"[:_LONGEST])


def _require_allowed(host: str) -> None:
    """Raise Unavailable if the host has an address to which the portal does not connect."""
    if not host:
        return
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise Unavailable(f"The name {host} was not found.") from error
    for address in addresses:
        if objection := tcp.objection(address):
            raise Unavailable(f"{host} has the address {address}, {objection}.")


def _host(service: Any) -> str:
    """The host in the URL; empty: the service has a fixed address, and the URL may have a token instead of a host."""
    has_host = any("{host}" in template for template in service.templates)
    return str(service.host or "") if has_host else ""


def _service(url: Secret) -> Any:
    import apprise

    # Apprise logs URLs, with their secrets, at this level.
    logging.getLogger("apprise").propagate = False
    return apprise.Apprise.instantiate(url.reveal(), suppress_exceptions=True)


def without_secrets(url: Secret, text: str) -> str:
    """The text without the parts of the URL from which a secret could be read: all but scheme and host."""
    host = (urlsplit(url.reveal()).hostname or "").lower()
    plain = url.reveal()
    parts = {part for whole in (plain, unquote(plain)) for part in re.split(r"[/@:?&=#,]+", whole) if len(part) > 3}
    for part in sorted(parts, key=len, reverse=True):
        if part.lower() != host:
            text = text.replace(part, "…")
    return text
