"""Users whom the reverse proxy signed in (oauth2-proxy, Authelia, Kerberos at the web server), named in its headers.

The caller reads the headers of requests on the proxy's own socket only, where no one else can set them.
"""

from datetime import datetime

from portal.access import external_users
from portal.core.errors import Refused
from portal.core.language import _
from portal.models import Role, User
from portal.system import audit, settings

#: The issuer of these users.
ISSUER = "reverse proxy"


def sign_in(name: str, groups: str, *, now: datetime) -> User:
    """Return the user, created if new, with the role of the groups. Raise Refused for a user without a role."""
    if not name or len(name) > 100 or not name.isprintable():
        raise Refused(_("The reverse proxy sent no usable user name."))
    by_role = {role: settings.get(f"Proxy{role.value.title()}Groups") for role in Role}
    role = external_users.highest_role(set(external_users.group_names(groups)), by_role)
    if role is None:
        text = _("None of the groups that the reverse proxy sent has a role in the portal.")
        audit.record(name, "user:sign-in-refused", User.kind, None, name, text, now)
        raise Refused(_("{text} Ask a portal administrator.", text=text))
    return external_users.signed_in(ISSUER, name, ISSUER, name, role, now=now)
