"""The template or the endpoints of the provider behind an address."""

import re
from dataclasses import dataclass, field

from portal import providers
from portal.core.errors import Invalid, NotFound, PortalError
from portal.core.language import _
from portal.core.loopback import is_loopback
from portal.protocols import imap_session, mail_autoconfig
from portal.protocols.server import Server
from portal.providers import Template
from portal.tokens import token_configs

#: Mail exchangers of hosted domains, by the ends of their names, with the provider's IMAP host.
_EXCHANGERS = {
    ".mail.protection.outlook.com": "outlook.office365.com",
    ".mx.microsoft": "outlook.office365.com",
    ".google.com": "imap.gmail.com",
    ".googlemail.com": "imap.gmail.com",
    ".messagingengine.com": "imap.fastmail.com",
    ".mx.yandex.net": "imap.yandex.com",
    ".mx.yandex.ru": "imap.yandex.com",
    ".yahoodns.net": "imap.mail.yahoo.com",
}
_ANY_PROVIDER = "generic"


@dataclass(frozen=True)
class Found:
    """The template to use. ``endpoints``: field values for it; empty: those of the template are right.

    ``imap``: the IMAP server that the domain publishes. ``how``: one sentence for each observation.
    """

    template: Template
    issuer: str = ""
    endpoints: dict[str, str] = field(default_factory=dict)
    how: tuple[str, ...] = ()
    imap: Server | None = None


def by_address(address: str) -> Found:
    """Find the provider of an address. Invalid: it is no address; NotFound says where nothing was found."""
    if not re.fullmatch(r"[^\s@]+@[A-Za-z0-9.-]+\.[A-Za-z0-9-]+", address):
        raise Invalid({"address": _("Enter an email address.")})
    domain = address.rpartition("@")[2].lower()
    exchangers = mail_autoconfig.mail_exchangers(domain)
    for exchanger in exchangers:
        if template := _hosted_by(exchanger):
            return Found(
                template,
                how=(_("{domain} receives its mail at {exchanger} (MX record).", domain=domain, exchanger=exchanger),),
            )
    published = mail_autoconfig.published(domain, address)
    imap = (published.imap if published else None) or mail_autoconfig.imap_server(domain)
    how = (
        (_("The IMAP server of {domain} is {host}, port {port}.", domain=domain, host=imap.host, port=imap.port),)
        if imap
        else ()
    )
    if imap and (template := _with_imap_host(imap.host)):
        return Found(template, how=how, imap=imap)
    issuers = [published.issuer if published else "", _named_by(imap), f"https://{domain}"]
    for issuer in issuers:
        if endpoints := _endpoints(issuer, imap):
            return Found(
                providers.find(_ANY_PROVIDER),
                issuer,
                endpoints,
                (*how, _("The issuer is {issuer}.", issuer=issuer)),
                imap,
            )
    raise NotFound(
        _(
            "The provider of {domain} was not found: its MX records ({servers}) belong to no template, and neither "
            "autoconfig, SRV records nor the IMAP server name an authorization server. Choose a template.",
            domain=domain,
            servers=", ".join(exchangers[:3]) or "-",
        )
    )


def imap_server(address: str) -> Server | None:
    """The IMAP server that the domain of an address publishes by autoconfig or SRV records (RFC 6186)."""
    domain = address.rpartition("@")[2].lower()
    published = mail_autoconfig.published(domain, address)
    return (published.imap if published else None) or mail_autoconfig.imap_server(domain)


def _hosted_by(exchanger: str) -> Template | None:
    hosts = (host for end, host in _EXCHANGERS.items() if exchanger.endswith(end))
    return next((template for host in hosts if (template := _with_imap_host(host))), None)


def _with_imap_host(host: str) -> Template | None:
    """The first template with this IMAP server that mailboxes sign in with."""
    offered = (template for template in providers.offered() if template.flow == "authorization_code")
    return next((template for template in offered if template.imap_host == host), None)


def _named_by(imap: Server | None) -> str:
    try:
        return imap_session.authorization_server(imap) if imap else ""
    except PortalError:
        return ""


def _endpoints(issuer: str, imap: Server | None) -> dict[str, str]:
    """The endpoints of an issuer; empty: it publishes none. Only a server of this machine may name one without TLS."""
    if not issuer.startswith("https://") and not (imap and is_loopback(imap.host)):
        return {}
    try:
        return token_configs.discovered(issuer)
    except PortalError:
        return {}
