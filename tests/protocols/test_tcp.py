"""A URL that a user enters must not make the portal ask the cloud's metadata service for its credentials."""

import socket
import ssl
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from portal.core.errors import HostDown, Unavailable
from portal.protocols import http, lmtp, server, tcp, tls
from portal.protocols.http import Request
from portal.protocols.server import Server


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "::169.254.169.254",
        "192.0.0.192",
        "fd00:ec2::254",
        "0.0.0.0",
        "::",
        "224.0.0.1",
    ],
)
def test_link_local_and_metadata_addresses_are_forbidden(address: str) -> None:
    assert tcp.objection(address) == "a link-local or metadata address"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.7", "192.168.1.1", "fd12::1", "203.0.113.9"])
def test_hosts_of_the_intranet_are_allowed(address: str) -> None:
    assert tcp.objection(address) is None


def test_internal_addresses_can_be_limited() -> None:
    tcp.allow_internal(["10.1.0.0/16", "fd12::/64"])
    try:
        refused = [one for one in ("10.1.2.3", "fd12::1", "203.0.113.9", "8.8.8.8") if tcp.objection(one)]
        assert refused == ["203.0.113.9"]  # of documentation, and so not global
        for address in ("127.0.0.1", "10.2.0.1", "::ffff:192.168.1.1", "fd13::1", "100.64.0.1"):
            assert "PORTAL_INTERNAL_NETWORKS" in str(tcp.objection(address))
    finally:
        tcp.allow_internal([])


@pytest.fixture
def rebound(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A host name that resolves to the metadata service; the connections that were tried."""
    tried: list[Any] = []
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: tried.append(address))
    return tried


def test_name_that_resolves_to_the_metadata_service_is_refused(rebound: list[Any]) -> None:
    with pytest.raises(HostDown, match=r"169\.254\.169\.254 is a link-local"):
        http.exchange(Request("GET", "https://id.example.org/token", {}, b""), seconds=5)
    with pytest.raises(Unavailable, match="link-local"), server.translated_errors("imap.example.org"):
        server.connect(Server("imap.example.org", 993))
    with pytest.raises(Unavailable, match="link-local"):
        lmtp.check(lmtp.Store("store.example.org", 24))
    assert rebound == []


def test_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        addresses = [("169.254.169.254", port), ("127.0.0.1", 1), ("127.0.0.1", port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
        with tcp.connect("mail.example.org", port, 5) as opened:
            assert opened.getpeername() == ("127.0.0.1", port)


def test_small_packets_do_not_wait_for_an_acknowledgment() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        opened = tcp.connect("127.0.0.1", listening.getsockname()[1], 5)
    with opened:
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000


def test_server_with_an_older_tls_than_1_2_is_refused(certificate_folder: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_folder / "server.pem", certificate_folder / "server.key")
    # Level 0, because level 1 of OpenSSL switches the older versions off on the side of the server too.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    tls.trust(certificate_folder / "ca.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            accepted, _ = listening.accept()
            with accepted, suppress(OSError), context.wrap_socket(accepted, server_side=True):
                pass

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(HostDown, match=r"(?i)version|protocol|alert"):
            http.exchange(Request("GET", url, {}, b""), seconds=5)
        thread.join()
    tls.trust(None)
