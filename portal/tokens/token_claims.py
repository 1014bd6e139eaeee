"""Claims of readable (JWT) access tokens (RFC 9068; Microsoft work accounts).

Used for explanations only: access tokens are meant for the resource server, and a client must not rely on their format.
"""

import json
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass

from portal import causes
from portal.causes import Where
from portal.core.encryption import Secret
from portal.core.errors import ExternalError, Refused, Side
from portal.core.language import _
from portal.models import Token
from portal.tokens import microsoft_rules

#: Audiences of Microsoft's mail servers, as host or application ID; other audiences give no access to a mailbox.
_EXCHANGE = ("outlook.office.com", "outlook.office365.com", "outlook.office365.us", "partner.outlook.cn",
             "outlook-dod.office365.us", "webmail.apps.mil",
             "00000002-0000-0ff1-ce00-000000000000")  # fmt: skip
#: Microsoft Graph, as host or application ID.
_GRAPH = (*microsoft_rules.GRAPH_HOSTS, "00000003-0000-0000-c000-000000000000")
_GMAIL = "https://mail.google.com/"
_NEEDED = {
    Where.IMAP: ("IMAP.AccessAsUser.All", "IMAP.AccessAsApp"),
    Where.POP3: ("POP.AccessAsUser.All", "POP.AccessAsApp"),
    Where.SMTP: ("SMTP.Send", "SMTP.SendAsApp"),
    Where.GRAPH: ("Mail.ReadWrite", "Mail.ReadWrite.Shared"),
    Where.GRAPH_SEND: ("Mail.Send", "Mail.Send.Shared"),
}


@dataclass(frozen=True)
class Claims:
    """Audience, scopes or roles, user and tenant of an access token; empty if the token lacks the claim.

    ``is_app_only``: the scopes are roles of the application, because no user has signed in.
    """

    audience: str
    scopes: tuple[str, ...]
    user: str
    tenant: str
    is_app_only: bool = False

    def __str__(self) -> str:
        parts = [f"for {self.audience}" if self.audience else "", ", ".join(self.scopes), self.user,
                 f"tenant {self.tenant}" if self.tenant else ""]  # fmt: skip
        return "; ".join(part for part in parts if part)


def read(token: Secret) -> Claims | None:
    """Return the claims of an access token; None: the token is opaque."""
    parts = token.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        payload = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, Base64Error, RecursionError):
        return None
    return _claims(payload) if isinstance(payload, dict) else None


def _claims(payload: dict[str, object]) -> Claims:
    audience, roles = payload.get("aud"), payload.get("roles")
    scopes = str(payload.get("scp") or payload.get("scope") or "").split()
    scopes += [str(role) for role in roles] if isinstance(roles, list) else []
    users = (str(payload[name]) for name in ("upn", "unique_name", "preferred_username", "email") if payload.get(name))
    first = audience[0] if isinstance(audience, list) and audience else audience or ""
    is_app_only = payload.get("idtyp") == "app" or not (payload.get("scp") or payload.get("scope"))
    return Claims(str(first), tuple(scopes), next(users, ""), str(payload.get("tid") or ""), is_app_only)


def objection(token: Token, where: Where) -> str:
    """Return why the access token does not fit this service, as the catalog recognizes it; empty: no objection."""
    claims = read(token.access_token) if token.access_token else None
    template, granted = token.token_config.template, token.granted_scope or ""
    if claims and template.startswith("microsoft") and where in _NEEDED:
        return _microsoft_objection(claims, where)
    if not claims and template == "google" and where in (Where.IMAP, Where.POP3, Where.SMTP) and _GMAIL not in granted:
        return _("token lacks {gmail}; it has {granted}", gmail=_GMAIL, granted=granted)
    return ""


def cause_of_failure(error: ExternalError, token: Token | None, where: Where) -> str:
    """Return the cause of a failure: what the refused token itself explains, else what the response says.

    ``token`` None: sign-in by password. Mail servers often refuse a token without a reason.
    """
    if token and error.side is Side.SERVER and isinstance(error, Refused) and (found := objection(token, where)):
        return causes.recognize(found, Where.PORTAL).name
    return causes.of_failure(error, where, by_password=token is None)


def _microsoft_objection(claims: Claims, where: Where) -> str:
    is_graph = where in (Where.GRAPH, Where.GRAPH_SEND)
    if claims.audience and not any(host in claims.audience for host in (_GRAPH if is_graph else _EXCHANGE)):
        return f"token {'not for Microsoft Graph' if is_graph else 'for another service'}: {claims.audience}"
    if is_graph and claims.is_app_only:
        # RBAC for Applications grants permissions that the token does not contain.
        return ""
    if claims.is_app_only and _NEEDED[where][1] not in claims.scopes:
        return _(
            "token has no role {role}; it has {names}",
            role=_NEEDED[where][1],
            names=", ".join(claims.scopes) or "-",
        )
    if claims.scopes and not set(_NEEDED[where]) & set(claims.scopes):
        return _("token lacks {scope}; it has {names}", scope=_NEEDED[where][0], names=", ".join(claims.scopes))
    return ""
