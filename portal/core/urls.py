"""The rule for URLs that requests with secrets are sent to."""

from urllib.parse import urlsplit

from portal.core.language import _
from portal.core.loopback import is_loopback


def url_problem(url: str) -> str | None:
    """Return why no secret may be sent to this URL; None: it may."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return _("This is not a URL.")
    if "@" in parts.netloc:
        return _("Leave out the user name: it would be sent with each request.")
    if parts.scheme not in ("https", "http") or not host or " " in url:
        return _("Enter a URL that begins with https://.")
    if parts.scheme == "http" and not is_loopback(host):
        return _("Use https: requests to this URL carry the client secret. http is accepted for localhost only.")
    if "{" in url:
        return _("Enter a tenant, or replace the part in braces.")
    return None
