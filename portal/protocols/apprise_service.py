"""Messages to the services that Apprise knows, such as Teams, Slack, Matrix, ntfy or a webhook.

Apprise and its plugins are imported when they are first needed: most processes send no such message.
"""

import logging
from typing import Any

from portal.core.encryption import Secret
from portal.core.errors import Refused, Unavailable

#: Services of the portal's own host.
_LOCAL = ("dbus", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows")
_LONGEST = 500


def url_problem(url: Secret) -> str | None:
    """The reason why this is no URL of a service in the network; None: it is one."""
    scheme = url.reveal().partition("://")[0].lower()
    if scheme in _LOCAL:
        return "This service is on the portal's own host."
    if _service(url) is None:
        return "Apprise does not know this URL. Examples: ntfys://host/topic, matrixs://user:password@host/#room."
    return None


def masked(url: Secret) -> str:
    """The URL without passwords and tokens."""
    service = _service(url)
    if service is None:
        raise Refused("Apprise does not know this URL.")
    return str(service.url(privacy=True)).partition("?")[0]


def send(url: Secret, title: str, body: str) -> None:
    """Send one message. Raise Unavailable, with the reason, if the service does not accept it."""
    import apprise

    service = _service(url)
    if service is None:
        raise Unavailable("Apprise does not know the URL of the channel; enter it again.")
    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as log:  # type: ignore[no-untyped-call]
        is_accepted = service.notify(body=body, title=title)
        told = " ".join(log.getvalue().split())
    if not is_accepted:
        raise Unavailable(f"The service did not accept the message. {_without(url, told)}"[:_LONGEST])


def _service(url: Secret) -> Any:
    import apprise

    # Apprise logs URLs, with their secrets, at this level.
    logging.getLogger("apprise").propagate = False
    return apprise.Apprise.instantiate(url.reveal(), suppress_exceptions=True)


def _without(url: Secret, text: str) -> str:
    """The text without the parts of the URL that are long enough to be a secret."""
    for part in (url.reveal(), *url.reveal().replace("@", "/").replace(":", "/").replace("?", "/").split("/")):
        if len(part) > 7:
            text = text.replace(part, "…")
    return text
