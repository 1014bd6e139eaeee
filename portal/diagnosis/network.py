"""The way to a server: name, connection, TLS, greeting, and whether the clocks agree."""

from contextlib import ExitStack
from datetime import timedelta

from portal.causes import Where
from portal.core.errors import Refused, Unavailable
from portal.diagnosis.checks import Ladder, Step
from portal.protocols import probe
from portal.protocols.http import Request
from portal.protocols.server import Plain, Secured, Security, Server
from portal.tokens.refresh_results import MOST_CLOCK_DIFFERENCE

_SOON = timedelta(days=14)


def to_mail_server(ladder: Ladder, at: Server, where: Where) -> None:
    """Up to the greeting; a server with STARTTLS is secured later, by whoever speaks its protocol."""
    with ExitStack() as opened:
        plain = _to_host(ladder, at, where, opened)
        connection: Plain | Secured = plain
        if at.security is Security.TLS:
            connection = _secured(ladder, at, where, plain, opened)
        with ladder.step("The server greets", where) as step:
            try:
                step.found = probe.greeting(connection, at.host)
            except Unavailable:
                if at.security is Security.STARTTLS and probe.shown_certificate(at):
                    raise Refused("speaks TLS from the first byte") from None
                raise


def to_web_server(ladder: Ladder, url: str, where: Where, ca: str = "") -> None:
    """Up to TLS; behind a proxy the way is the proxy's own."""
    proxy = probe.proxy_of(url)
    at = probe.web_server(proxy if proxy and "//" in proxy else f"http://{proxy}" if proxy else url, ca)
    if proxy:
        ladder.hints.append(f"The way leads through the proxy {at.host}:{at.port}, as the environment says.")
    with ExitStack() as opened:
        plain = _to_host(ladder, at, where, opened)
        if at.security is Security.TLS:
            _secured(ladder, at, where, plain, opened)


def _to_host(ladder: Ladder, at: Server, where: Where, opened: ExitStack) -> Plain:
    ladder.facts["host"] = at.host
    with ladder.step("The name resolves", where) as step:
        step.found = f"{at.host} is {', '.join(probe.addresses(at.host, at.port)[:4])}"
    with ladder.step("It takes connections", where) as step:
        plain = opened.enter_context(probe.connection(at))
        step.found = f"port {at.port}"
    return plain


def _secured(ladder: Ladder, at: Server, where: Where, plain: Plain, opened: ExitStack) -> Secured:
    with ladder.step("TLS is good", where) as step:
        try:
            connection = opened.enter_context(probe.secured(plain, at))
        except Unavailable:
            step.found = str(probe.shown_certificate(at) or "")
            raise
        tell_tls(ladder, step, connection)
    return connection


def tell_tls(ladder: Ladder, step: Step, connection: Secured) -> None:
    """Version, issuer, and the days that are left."""
    shown = probe.certificate(connection)
    left = shown.ends_at - ladder.now
    step.found = f"{connection.secured_by}, {shown}, {left.days} days left"
    if left < _SOON:
        ladder.hints.append(f"The server’s certificate ends in {left.days} days, on {shown.ends_at:%Y-%m-%d}.")


def clocks_agree(ladder: Ladder, url: str) -> None:
    """By what a provider's web server says of the time; one that does not tell it is not asked again."""
    with ladder.step("It answers, and the clocks agree", Where.PROVIDER) as step:
        answer = probe.web_answer(Request("GET", url, {"Accept": "application/json"}, b""))
        step.found = f"HTTP {answer.status}, clocks differ by {abs(answer.ahead or 0)} s"
    if answer.ahead is not None and abs(answer.ahead) > MOST_CLOCK_DIFFERENCE.total_seconds():
        with ladder.step("The clocks agree", Where.PORTAL):
            raise Refused(f"clock differs by {answer.ahead} seconds")
