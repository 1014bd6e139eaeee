"""Network checks of a server: host name, TCP connection, TLS, greeting, clock difference."""

from contextlib import ExitStack
from datetime import timedelta

from portal.causes import Where
from portal.core.errors import Refused, Unavailable
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
        with ladder.step("Server greeting", where) as step:
            try:
                step.found = probe.greeting(connection, at.host)
            except Unavailable:
                if at.security is Security.STARTTLS and probe.shown_certificate(at):
                    raise Refused("speaks TLS from the first byte") from None
                raise


def to_web_server(ladder: Checks, url: str, where: Where, ca: str = "") -> None:
    """Check a web server up to TLS; with a proxy, the proxy is checked instead."""
    proxy = probe.proxy_of(url)
    at = probe.web_server(proxy if proxy and "//" in proxy else f"http://{proxy}" if proxy else url, ca)
    if proxy:
        ladder.hints.append(f"Connections use the proxy {at.host}:{at.port} set in the environment.")
    with ExitStack() as opened:
        plain = _to_host(ladder, at, where, opened)
        if at.security is Security.TLS:
            _secured(ladder, at, where, plain, opened)


def _to_host(ladder: Checks, at: Server, where: Where, opened: ExitStack) -> Plain:
    ladder.facts["host"] = at.host
    with ladder.step("Host name", where) as step:
        step.found = f"{at.host} resolves to {', '.join(probe.addresses(at.host, at.port)[:4])}"
    with ladder.step("TCP connection", where) as step:
        plain = opened.enter_context(probe.connection(at))
        step.found = f"port {at.port}"
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
    step.found = f"{connection.secured_by}, {shown}, {left.days} days left"
    if left < _SOON:
        ladder.hints.append(f"The server certificate expires in {left.days} days, on {shown.ends_at:%Y-%m-%d}.")


def clocks_agree(ladder: Checks, url: str) -> None:
    """Check the system clock against the Date header of the provider's web server; without this header, skip it."""
    with ladder.step("Provider response", Where.PROVIDER) as step:
        answer = probe.web_answer(Request("GET", url, {"Accept": "application/json"}, b""))
        step.found = f"HTTP {answer.status}, clock difference {abs(answer.ahead or 0)} s"
    if answer.ahead is not None and abs(answer.ahead) > MAX_CLOCK_DIFFERENCE.total_seconds():
        with ladder.step("System clock", Where.PORTAL):
            raise Refused(f"clock differs by {answer.ahead} seconds")
