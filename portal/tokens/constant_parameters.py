"""Constant parameters of the authorization and token requests, as a query string (``prompt=consent&hd=x.test``)."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from portal.core.language import _

#: Parameters that the portal sets itself (RFC 6749, 7636, 7523, OpenID Connect Core).
_OWN = {
    "client_id", "client_secret", "redirect_uri", "response_type", "scope", "state", "nonce", "code", "code_verifier",
    "code_challenge", "code_challenge_method", "grant_type", "refresh_token", "assertion", "client_assertion",
    "client_assertion_type",
}  # fmt: skip


def parsed(text: str) -> dict[str, str]:
    """Return the parameters by name; empty if the text is no query string."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)))
    except ValueError:
        return {}


def written(parameters: Mapping[str, str]) -> str:
    return urlencode(parameters)


def problem(text: str) -> str:
    """Return why the text cannot be used; empty: it can."""
    if not text:
        return ""
    found = parsed(text)
    if not found:
        return _("Enter name=value, several joined by &, for example prompt=consent&hd=example.com.")
    if own := sorted(_OWN & found.keys()):
        return _("The portal sets {name} itself.", name=own[0])
    return ""
