"""Google service accounts with domain-wide delegation: the JSON key, and assertions for mailboxes (RFC 7523).

https://developers.google.com/identity/protocols/oauth2/service-account#authorizingrequests
"""

import json
from datetime import datetime, timedelta

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from portal.core.encryption import Secret
from portal.core.errors import Invalid, Refused
from portal.core.language import _

#: Google accepts at most one hour.
_LIFE = timedelta(hours=1)
_KEPT = ("client_email", "private_key", "private_key_id")


def read_key(text: str) -> tuple[str, Secret]:
    """Return the account's address and the key to store, from the JSON file of Google. Invalid: another file."""
    try:
        found = json.loads(text)
        kept = {name: found[name] for name in _KEPT}
        RSAKey.import_key(kept["private_key"])
    except (ValueError, KeyError, TypeError, RecursionError, JoseError) as error:
        raise Invalid({"service_account_key": _("This is no JSON key of a Google service account.")}) from error
    return str(kept["client_email"]), Secret(json.dumps(kept))


def assertion(stored: Secret, *, mailbox: str, scope: str, audience: str, now: datetime) -> Secret:
    """Return a signed assertion that requests an access token for a mailbox. ``audience``: the token URL."""
    try:
        key = json.loads(stored.reveal())
        claims = {
            "iss": key["client_email"],
            "sub": mailbox,
            "scope": scope,
            "aud": audience,
            "iat": int(now.timestamp()),
            "exp": int((now + _LIFE).timestamp()),
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": key["private_key_id"]}
        return Secret(jwt.encode(header, claims, RSAKey.import_key(key["private_key"])))
    except (ValueError, KeyError, TypeError, JoseError) as error:
        raise Refused(_("The stored key is no JSON key of a Google service account; upload it again.")) from error
