"""Rules of Microsoft's identity platform that a token configuration can break before any request is sent.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow, …/scopes-oidc, …/reference-error-codes
"""

import re
from urllib.parse import urlsplit

from portal.core.language import _

_LOGIN_HOSTS = ("login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn",
                "login.windows.net", "login.chinacloudapi.cn")  # fmt: skip
_SHARED_TENANTS = ("common", "organizations", "consumers")
_GUID = r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
#: Scopes of the identity platform itself; they belong to every resource.
_OF_NO_RESOURCE = ("openid", "profile", "email", "offline_access")
#: The resource of a scope without one.
_DEFAULT_RESOURCE = "graph.microsoft.com"
#: Microsoft Graph in each cloud (https://learn.microsoft.com/graph/deployments).
GRAPH_HOSTS = ("graph.microsoft.com", "graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn")


def is_microsoft(token_url: str) -> bool:
    return urlsplit(token_url).hostname in _LOGIN_HOSTS


def resources(scope: str) -> list[str]:
    """The hosts of the services whose tokens a scope requests, in their order."""
    found = [urlsplit(one).hostname or _DEFAULT_RESOURCE for one in scope.split() if one not in _OF_NO_RESOURCE]
    return list(dict.fromkeys(found))


def access_problem(scope: str, protocol: str) -> str:
    """Why tokens with this scope give no access over ``protocol``: IMAP, POP, SMTP or Graph; empty: no problem.

    Znuny's documentation has the scope https://graph.microsoft.com/IMAP.AccessAsUser.All, so it is no problem here.
    """
    services = resources(scope)
    is_for_graph = any(host in GRAPH_HOSTS for host in services)
    if protocol == "Graph" and services and not is_for_graph:
        return _(
            "The tokens of this configuration are for {audience}. Choose one of a Microsoft Graph template.",
            audience=services[0],
        )
    if protocol != "Graph" and is_for_graph and f"/{protocol}." not in scope:
        return _(
            "The tokens of this configuration are for Microsoft Graph, which does not speak {protocol}. Choose the "
            "type MSGraph, or a configuration with a scope of https://outlook.office.com/.",
            protocol=protocol,
        )
    return ""


def scope_problem(scope: str, *, app_only: bool) -> str:
    """Why no usable token can be requested with this scope; empty: no problem."""
    services = resources(scope)
    if len(services) > 1:
        return _("One token is for one service. The scope mixes {names} (AADSTS28000).", names=" and ".join(services))
    if app_only:
        if scope and not all(one.endswith("/.default") for one in scope.split()):
            return _("App-only access needs one scope that ends in /.default (AADSTS1002012).")
        return ""
    if scope and "offline_access" not in scope.split():
        return _("Add offline_access. Without it there is no refresh token, and access ends after about an hour.")
    return ""


def secret_problem(secret: str) -> str:
    """Why Microsoft would refuse the client secret; empty: no problem."""
    if re.fullmatch(_GUID, secret):
        return _("This is the Secret ID. Copy the Value; if it is no longer shown, create a new client secret.")
    return ""


def is_object_id(text: str) -> bool:
    return bool(re.fullmatch(_GUID, text))


def tenant_problem(tenant: str, *, app_only: bool) -> str:
    """Why the tenant cannot be used; empty: no problem."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", tenant):
        return _("Enter only the tenant ID or a domain, for example contoso.onmicrosoft.com.")
    if app_only and tenant.lower() in _SHARED_TENANTS:
        return _("App-only access needs the ID or a domain of one tenant (AADSTS9001023).")
    return ""


def shared_endpoint_problem(token_url: str) -> str:
    """Why a token URL cannot be used for app-only access; empty: no problem."""
    if urlsplit(token_url).path.strip("/").partition("/")[0].lower() in _SHARED_TENANTS:
        return _("App-only access needs the ID or a domain of one tenant in the URL (AADSTS9001023).")
    return ""
