"""A DNS server with records that the test sets."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from portal.protocols import mail_autoconfig

Records = dict[tuple[str, str], list[str]]


@contextmanager
def serving(records: Records) -> Iterator[dns.resolver.Resolver]:
    """Answer queries from ``records`` (by name and type), others with NXDOMAIN; yields a resolver that asks here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_serve, args=(opened, records), daemon=True)
        thread.start()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], opened.getsockname()[1]
        yield resolver
        opened.sendto(b"", opened.getsockname())
        thread.join()


def _serve(opened: socket.socket, records: Records) -> None:
    while True:
        raw, client = opened.recvfrom(4096)
        if not raw:
            return
        query = dns.message.from_wire(raw)
        response, question = dns.message.make_response(query), query.question[0]
        kind = question.rdtype.name
        if found := records.get((question.name.to_text(omit_final_dot=True), kind)):
            response.answer.append(dns.rrset.from_text(question.name, 300, "IN", kind, *found))
        else:
            response.set_rcode(dns.rcode.NXDOMAIN)
        opened.sendto(response.to_wire(), client)


@contextmanager
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[Records]:
    """The DNS records that the portal sees; no domain publishes an autoconfig document."""
    found: Records = {}
    monkeypatch.setattr(mail_autoconfig, "autoconfig_urls", lambda domain, address: [])
    with serving(found) as resolver:
        monkeypatch.setattr(mail_autoconfig, "resolver", lambda: resolver)
        yield found
