"""The redirect URI (RFC 6749 section 3.1.2) that providers send the browser back to; derived as in Znuny."""

from urllib.parse import urlsplit

from portal.core.language import _
from portal.core.loopback import is_loopback
from portal.system import settings


def uri() -> str:
    """``<HttpType>://<FQDN>/<ScriptAlias><RedirectScript>``, from settings alone, never from the request."""
    values = settings.everything()
    return f"{values['HttpType']}://{values['FQDN']}/{values['ScriptAlias']}{values['RedirectScript']}"


def warnings(browser_origin: str | None) -> list[str]:
    """Warnings about the redirect URI; ``browser_origin`` is None outside a browser."""
    parts = urlsplit(uri())
    found = []
    if parts.scheme != "https" and not is_loopback(parts.hostname):
        found.append(_("The redirect URI is not https: Microsoft and Google will reject it. Set HttpType to https."))
    if browser_origin and browser_origin != f"{parts.scheme}://{parts.netloc}":
        found.append(
            _(
                "Your browser is at {browser_origin}, not at the redirect URI: a sign-in started here will fail. "
                "Correct FQDN and HttpType, or open the portal at {scheme}://{netloc}.",
                browser_origin=browser_origin,
                scheme=parts.scheme,
                netloc=parts.netloc,
            )
        )
    return found
