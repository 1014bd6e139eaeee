"""Mail servers and authorization server that a domain publishes: DNS (RFC 6186) and Thunderbird's autoconfig.

https://www.bucksch.org/1/projects/thunderbird/autoconfiguration/config-file-format.html
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import dns.exception
import dns.resolver

from portal.core.errors import ExternalError
from portal.protocols import http
from portal.protocols.http import Request
from portal.protocols.server import Security, Server

_DNS_SECONDS, _HTTP_SECONDS = 5.0, 10.0
_MOST_RECORDS = 20
_SOCKET_TYPES = {"SSL": Security.TLS, "STARTTLS": Security.STARTTLS}


@dataclass(frozen=True)
class Autoconfig:
    """What a domain publishes. ``imap`` None: no IMAP server with TLS. ``issuer`` empty: no authorization server."""

    imap: Server | None
    issuer: str = ""


def mail_exchangers(domain: str) -> list[str]:
    """The hosts of the domain's MX records (RFC 5321 section 5.1), preferred first; empty: none, or no answer."""
    return [str(record.exchange).rstrip(".").lower() for record in _records(domain, "MX")]


def imap_server(domain: str) -> Server | None:
    """The IMAP server with TLS that the domain's SRV records name (RFC 6186, RFC 8314); None: none."""
    for service, security in (("_imaps", Security.TLS), ("_imap", Security.STARTTLS)):
        for record in _records(f"{service}._tcp.{domain}", "SRV"):
            host = str(record.target).rstrip(".").lower()
            # A single dot means that the service is not offered.
            if host:
                return Server(host, int(record.port), security)
    return None


def _records(name: str, kind: str) -> list[Any]:
    try:
        found = list(resolver().resolve(name, kind, lifetime=_DNS_SECONDS))[:_MOST_RECORDS]
    except (dns.exception.DNSException, OSError, ValueError):
        return []
    return sorted(found, key=lambda record: getattr(record, "preference", getattr(record, "priority", 0)))


def resolver() -> dns.resolver.Resolver:
    return dns.resolver.get_default_resolver()


def published(domain: str, address: str) -> Autoconfig | None:
    """What the domain publishes by autoconfig, over https only; None: nothing."""
    for url in autoconfig_urls(domain, address):
        try:
            response = http.exchange(Request("GET", url, {"Accept": "text/xml"}, b""), seconds=_HTTP_SECONDS)
        except ExternalError:
            continue
        if response.status_code == 200 and (found := read(response.content)):
            return found
    return None


def autoconfig_urls(domain: str, address: str) -> list[str]:
    query = f"emailaddress={quote(address)}"
    return [
        f"https://autoconfig.{domain}/mail/config-v1.1.xml?{query}",
        f"https://{domain}/.well-known/autoconfig/mail/config-v1.1.xml?{query}",
    ]


def read(content: bytes) -> Autoconfig | None:
    """Read an autoconfig document; None: it is none. Documents with a DTD are not read: they may define entities."""
    try:
        # Decoded here, so that a document in UTF-16 hides nothing from the search.
        text = content.decode("utf-8")
        root = None if "<!" in text.replace("<!--", "") else ElementTree.fromstring(text)  # noqa: S314
    except (ElementTree.ParseError, ValueError):
        return None
    if root is None or root.tag != "clientConfig":
        return None
    issuer = (root.findtext("oAuth2/issuer") or "").strip()
    return Autoconfig(_imap_of(root), f"https://{issuer}" if issuer and "://" not in issuer else issuer)


def _imap_of(root: ElementTree.Element) -> Server | None:
    for server in root.iterfind("emailProvider/incomingServer[@type='imap']"):
        host, port = (server.findtext("hostname") or "").strip().lower(), (server.findtext("port") or "").strip()
        security = _SOCKET_TYPES.get((server.findtext("socketType") or "").strip())
        if host and security and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            return Server(host, int(port), security)
    return None
