"""What an access token says of itself, where it can be read (RFC 9068; Microsoft's for work accounts).

Nothing hangs on it but an explanation: an access token is for the resource, and a client must not rely on it.
"""

import json
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass

from portal.causes import Where
from portal.core.encryption import Secret

#: Microsoft's mail servers, by address and by number; anything else opens no mailbox.
_EXCHANGE = ("outlook.office.com", "outlook.office365.com", "outlook.office365.us", "partner.outlook.cn",
             "outlook-dod.office365.us", "webmail.apps.mil",
             "00000002-0000-0ff1-ce00-000000000000")  # fmt: skip
_NEEDED = {
    Where.IMAP: ("IMAP.AccessAsUser.All", "IMAP.AccessAsApp"),
    Where.POP3: ("POP.AccessAsUser.All", "POP.AccessAsApp"),
    Where.SMTP: ("SMTP.Send", "SMTP.SendAsApp"),
}


@dataclass(frozen=True)
class Claims:
    """Audience, scopes or roles, user and tenant; empty where the token does not say."""

    audience: str
    scopes: tuple[str, ...]
    user: str
    tenant: str

    def __str__(self) -> str:
        parts = [f"for {self.audience}" if self.audience else "", ", ".join(self.scopes), self.user,
                 f"tenant {self.tenant}" if self.tenant else ""]  # fmt: skip
        return "; ".join(part for part in parts if part)


def read(token: Secret) -> Claims | None:
    """None: it is opaque, which is as good."""
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
    return Claims(str(first), tuple(scopes), next(users, ""), str(payload.get("tid") or ""))


def objection(claims: Claims, where: Where, *, is_microsoft: bool) -> str:
    """Why a token cannot be for this, in the words that the catalogue knows; empty: nothing speaks against it."""
    if not is_microsoft or where not in _NEEDED:
        return ""
    if claims.audience and not any(host in claims.audience for host in _EXCHANGE):
        return f"token for another service: {claims.audience}"
    if claims.scopes and not set(_NEEDED[where]) & set(claims.scopes):
        return f"token lacks {_NEEDED[where][0]}; it has {', '.join(claims.scopes)}"
    return ""
