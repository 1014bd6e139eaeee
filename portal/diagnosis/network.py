"""Network checks of a server: host name, TCP connection, TLS, greeting, clock difference."""

from contextlib import ExitStack
from datetime import timedelta

from portal.causes import Where
from portal.core.errors import Refused, Unavailable
from portal.core.language import _
from portal.diagnosis.checks import Checks, Step
from portal.protocols import probe
from portal.protocols.http import Request
from portal.protocols.server import Plain, Secured, Security, Server
from portal.tokens.refresh_results import MAX_CLOCK_DIFFERENCE

_SOON = timedelta(days=14)


def to_mail_server(ladder: Checks, at: Server, where: Where) -> None:
    """Check a mail server up to its greeting; STARTTLS is checked later by the protocol checks."""
    with ExitStack() as opened:
        plain = _to_host(ladder, at, where, opened)
        connection: Plain | Secured = plain
        if at.security is Security.TLS:
            connection = _secured(ladder, at, where, plain, opened)
        with ladder.step(_("Server greeting"), where) as step:
            try:
                step.found = probe.greeting(connection, at.host)
            except Unavailable:
                if at.security is Security.STARTTLS and probe.shown_certificate(at):
                    raise Refused(_("speaks TLS from the first byte")) from None
                raise


def to_web_server(ladder: Checks, url: str, where: Where, ca: str = "") -> None:
    """Check a web server up to TLS; with a proxy, the proxy is checked instead."""
    proxy = probe.proxy_of(url)
    at = probe.web_server(proxy if proxy and "//" in proxy else f"http://{proxy}" if proxy else url, ca)
    if proxy:
        ladder.hints.append(
            _("Connections use the proxy {host}:{port} set in the environment.", host=at.host, port=at.port)
        )
    with ExitStack() as opened:
        plain = _to_host(ladder, at, where, opened)
        if at.security is Security.TLS:
            _secured(ladder, at, where, plain, opened)


def _to_host(ladder: Checks, at: Server, where: Where, opened: ExitStack) -> Plain:
    ladder.facts["host"] = at.host
    with ladder.step(_("Host name"), where) as step:
        step.found = _(
            "{host} resolves to {names}", host=at.host, names=", ".join(probe.addresses(at.host, at.port)[:4])
        )
    with ladder.step(_("TCP connection"), where) as step:
        plain = opened.enter_context(probe.connection(at))
        step.found = _("port {port}", port=at.port)
    return plain


def _secured(ladder: Checks, at: Server, where: Where, plain: Plain, opened: ExitStack) -> Secured:
    with ladder.step("TLS", where) as step:
        try:
            connection = opened.enter_context(probe.secured(plain, at))
        except Unavailable:
            step.found = str(probe.shown_certificate(at) or "")
            raise
        tell_tls(ladder, step, connection)
    return connection


def tell_tls(ladder: Checks, step: Step, connection: Secured) -> None:
    """Record the TLS version, the certificate and the days until it expires."""
    shown = probe.certificate(connection)
    left = shown.ends_at - ladder.now
    step.found = _(
        "{secured_by}, {shown}, {days} days left", secured_by=connection.secured_by, shown=shown, days=left.days
    )
    if left < _SOON:
        ladder.hints.append(
            _(
                "The server certificate expires in {days} days, on {ends_at:%Y-%m-%d}.",
                days=left.days,
                ends_at=shown.ends_at,
            )
        )


def clocks_agree(ladder: Checks, url: str) -> None:
    """Check the system clock against the Date header of the provider's web server; without this header, skip it."""
    with ladder.step(_("Provider response"), Where.PROVIDER) as step:
        answer = probe.web_answer(Request("GET", url, {"Accept": "application/json"}, b""))
        step.found = _(
            "HTTP {status}, clock difference {seconds} s", status=answer.status, seconds=abs(answer.ahead or 0)
        )
    if answer.ahead is not None and abs(answer.ahead) > MAX_CLOCK_DIFFERENCE.total_seconds():
        with ladder.step(_("System clock"), Where.PORTAL):
            raise Refused(_("clock differs by {ahead} seconds", ahead=answer.ahead))
