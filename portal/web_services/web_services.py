"""Web services (HTTP requests that carry a token): add, change, delete, and repeat a call."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit

from portal.core import token_state, work_state
from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import Invalid, Refused
from portal.core.language import Text, _
from portal.core.loopback import is_loopback
from portal.models import CallState, ServiceAuth, Token, Validity, WebService, WebServiceCall, text_problems
from portal.protocols import tls_options
from portal.system import audit, job_queue, named_rows, settings, unencrypted
from portal.tokens import token_facts
from portal.triggers import body_templates, triggers
from portal.triggers.triggers import Trigger

#: Placeholders in headers and URL: Znuny's for the token, the portal's own for the secret.
TOKEN_PLACEHOLDER, SECRET_PLACEHOLDER = "<OTRS_OAUTH2_TOKEN>", "<PORTAL_SECRET>"
METHODS = ("POST", "PUT", "PATCH", "GET", "DELETE")
#: RFC 9110 section 5.1.
_HEADER = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
#: The portal sets these itself.
_OWN_HEADERS = ("idempotency-key", "content-length", "host", "transfer-encoding", "connection")


@dataclass
class Fields:
    """The values of a web service that an administrator enters, named like the columns."""

    name: str
    url: str
    method: str = "POST"
    headers: str = ""
    body: str = ""
    authentication: ServiceAuth = ServiceAuth.NONE
    login: str = ""
    token: Token | None = None
    ca: str = ""
    timeout: int = 30
    success: str = "200-299"
    max_attempts: int = 8
    triggers: str = ""
    validity: Validity = Validity.VALID
    comment: str = ""


def add(entered: Fields, secret: Secret | None, *, actor: str, now: datetime) -> WebService:
    """Create a web service. Raises Invalid with a message for each invalid field."""
    _complete(entered)
    check(entered, has_secret=bool(secret))
    _check_secret(secret)
    with named_rows.saving(WebService):
        row = WebService.create(created_at=now, changed_at=now, **named_rows.columns(entered))
        row.secret = secret
        row.save()
        audit.about(row, actor, "added", f"{row.method} {row.url}", now)
    return row


def edit(row: WebService, entered: Fields, secret: Secret | None, *, actor: str, now: datetime) -> None:
    """Change a web service. ``secret`` None keeps the stored secret if host and private CA stay the same."""
    _complete(entered)
    kept = row.secret if _host(entered.url) == _host(row.url) and entered.ca == row.ca else None
    check(entered, has_secret=bool(secret or kept))
    _check_secret(secret)
    changed = named_rows.assign(row, entered)
    row.secret, row.changed_at = secret or kept, now
    with named_rows.saving(WebService):
        row.save()
        queued = (WebServiceCall.web_service == row.id) & (WebServiceCall.state == CallState.QUEUED)
        WebServiceCall.update(due_at=now).where(queued).execute()
        audit.about(row, actor, "edited", audit.changed([*changed, *(["secret"] if secret else [])]), now)


def _check_secret(secret: Secret | None) -> None:
    if secret and not (secret.reveal().isascii() and secret.reveal().isprintable()):
        raise Invalid({"secret": _("The secret contains characters that are not allowed in an HTTP header.")})


def delete(row: WebService, *, actor: str, now: datetime) -> None:
    """Delete a web service and its calls. Raises InUse with the names of the destinations that call it."""
    names = ", ".join(destination.name for destination in row.destinations)
    users = _("Destinations that call it: {names}.", names=names) if names else ""
    named_rows.delete(row, f"{row.method} {row.url}", users=users, actor=actor, now=now)


def _complete(entered: Fields) -> None:
    entered.ca = tls_options.only_certificates(entered.ca)
    entered.headers = "\n".join(line.strip() for line in entered.headers.splitlines() if line.strip())
    entered.method = entered.method.upper()
    if entered.authentication not in (ServiceAuth.TOKEN, ServiceAuth.PLACEHOLDER):
        entered.token = None


def _host(url: str) -> tuple[str, str | None, int | None] | None:
    """Return scheme, host and port of a URL; None if it is invalid."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port
    except ValueError:
        return None


def full_url(row: WebService) -> str:
    """Return the URL with the secret in place of its placeholder."""
    secret = row.secret
    return row.url.replace(SECRET_PLACEHOLDER, quote(secret.reveal(), safe="") if secret else "")


def _has_placeholder(entered: Fields) -> bool:
    return SECRET_PLACEHOLDER in entered.headers or SECRET_PLACEHOLDER in entered.url


def check(entered: Fields, *, has_secret: bool) -> None:
    problems = {name: _("This field is required.") for name in ("name", "url") if not getattr(entered, name)}
    problems |= text_problems(WebService, {**named_rows.columns(entered), "headers": "", "body": "", "ca": ""})
    if entered.url and (problem := _url_problem(entered)):
        problems["url"] = problem
    if entered.method not in METHODS:
        problems["method"] = _("One of {names}.", names=", ".join(METHODS))
    problems |= _header_problems(entered) | _authentication_problems(entered, has_secret=has_secret)
    problems |= _number_problems(entered) | tls_options.problems(entered.ca) | _body_problems(entered)
    if problems:
        raise Invalid(problems)


def _url_problem(entered: Fields) -> str | None:
    try:
        parts = urlsplit(entered.url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return _("This is not a URL.")
    if parts.scheme not in ("https", "http") or not host or " " in entered.url:
        return _("Enter a URL that begins with https://.")
    if parts.username or parts.password:
        return _("Remove user name and password from the URL and choose the authentication type Basic.")
    carries = entered.authentication is not ServiceAuth.NONE or _has_placeholder(entered)
    if parts.scheme == "http" and carries and not is_loopback(host):
        return _("Use https: the request contains a secret. http is only allowed for this host.")
    if parts.scheme == "http":
        return unencrypted.problem(host, "calls")
    return None


def header_pairs(text: str) -> list[tuple[str, str]]:
    """Return names and values of the entered headers, one per line."""
    return [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in text.splitlines())]


def _header_problems(entered: Fields) -> dict[str, str]:
    for line in entered.headers.splitlines():
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(_HEADER, name.strip()):
            return {
                "headers": _("“{line}” is not a header. Enter one header per line, as Name: value.", line=line[:40])
            }
        if name.strip().lower() in _OWN_HEADERS:
            return {"headers": _("Remove {name}: the portal sets this header.", name=name.strip())}
        if not value.strip().isprintable() or not value.isascii():
            return {
                "headers": _("{name} contains characters that are not allowed in an HTTP header.", name=name.strip())
            }
    if entered.authentication is ServiceAuth.PLACEHOLDER and TOKEN_PLACEHOLDER not in entered.headers:
        return {
            "headers": _(
                "Enter {token_placeholder} in the header that is to carry the token.",
                token_placeholder=TOKEN_PLACEHOLDER,
            )
        }
    return {}


def _authentication_problems(entered: Fields, *, has_secret: bool) -> dict[str, str]:
    problems = {}
    if entered.authentication in (ServiceAuth.TOKEN, ServiceAuth.PLACEHOLDER) and entered.token is None:
        problems["token"] = _("Choose a token.")
    if TOKEN_PLACEHOLDER in entered.headers and entered.token is None:
        problems["token"] = _(
            "Choose a token for {token_placeholder}, and an authentication type that uses it.",
            token_placeholder=TOKEN_PLACEHOLDER,
        )
    if entered.authentication is ServiceAuth.BASIC and not entered.login:
        problems["login"] = _("Enter the user name.")
    wants = entered.authentication is ServiceAuth.BASIC or _has_placeholder(entered)
    if wants and not has_secret:
        problems["secret"] = _("Enter the password or secret. If the host changed, enter it again.")
    return problems


def _number_problems(entered: Fields) -> dict[str, str]:
    problems = {}
    if not 1 <= entered.timeout <= 600:
        problems["timeout"] = _("Enter a number of seconds from 1 to 600.")
    if not 1 <= entered.max_attempts <= 30:
        problems["max_attempts"] = _("Enter a number from 1 to 30.")
    try:
        if not statuses(entered.success):
            raise ValueError
    except ValueError:
        problems["success"] = _("Enter HTTP status codes, for example 200-299, 404.")
    return problems


def statuses(text: str) -> set[int]:
    """Return ``200-299, 404`` as a set of numbers. Raises ValueError if the text is invalid."""
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        low, _, high = part.partition("-")
        if not re.fullmatch(r"[1-5]\d\d", low) or (high and not re.fullmatch(r"[1-5]\d\d", high)):
            raise ValueError(part)
        found |= set(range(int(low), int(high or low) + 1))
    return found


def _body_problems(entered: Fields) -> dict[str, str]:
    """Check the body template by rendering it with example data of each selected trigger."""
    try:
        body_templates.check(entered.body)
    except Refused as error:
        return {"body": str(error)}
    wanted = occasions_of(entered.triggers)
    unknown = [one for one in wanted if one not in set(Trigger)]
    if unknown:
        return {
            "triggers": _("{name!r} is not a trigger. Available: {names}.", name=unknown[0], names=", ".join(Trigger))
        }
    for occasion in wanted:
        example = triggers.variables(occasion, triggers.EXAMPLES[occasion], _EXAMPLE_AT)
        try:
            body_templates.render(entered.body, example)
        except Refused as error:
            return {"body": _("Trigger “{trigger}”: {error}", trigger=Text(occasion), error=error)}
    return {}


_EXAMPLE_AT = datetime(2026, 1, 1)  # noqa: DTZ001 - only its digits are shown


def occasions_of(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def state(row: WebService, now: datetime) -> token_state.State:
    token = row.token
    facts = work_state.SenderFacts(
        valid=row.is_valid,
        paused=row.validity is Validity.INVALID_TEMPORARILY,
        token=token_state.access_token(token_facts.of(token, settings.refresh_margin()), now) if token else None,
        good_at=row.succeeded_at,
        failing_since=row.failing_since,
        failure=row.failure,
        next_try=None,
    )
    return work_state.sender(facts, done=_("succeeded"), unused=_("not called yet"))


def call_by_hand(row: WebService, values: Mapping[str, str], *, actor: str, now: datetime) -> WebServiceCall:
    """Queue a call with values entered by a user, ``values.NAME`` in the body. Raises Refused if rendering fails."""
    given = triggers.variables("by hand", {"values": dict(values)}, now)
    with transaction():
        call = triggers.queue_call(row, f"by hand: {actor}", given, now=now)
        audit.about(row, actor, "called", f"call {call.id}", now)
    return call


def call_again(call: WebServiceCall, *, actor: str, now: datetime) -> None:
    """Queue a finished call again with the same idempotency key. Raises Refused if its body is not stored."""
    if call.body is None:
        raise Refused(_("The call cannot be repeated: its body is not stored."))
    with transaction():
        settled = (WebServiceCall.id == call.id) & (WebServiceCall.state != CallState.QUEUED)
        idle = settled & (WebServiceCall.leased_until.is_null() | ~WebServiceCall.is_held(now))
        anew = {"state": CallState.QUEUED, "tries": 0, "due_at": now, "ended_at": None}
        if not WebServiceCall.update({**anew, "version": WebServiceCall.version + 1}).where(idle).execute():
            raise Refused(_("The call is in progress. Try again later."))
        audit.about(call.web_service, actor, "called-again", f"call {call.id}", now)
    job_queue.call(call.id)


def basic(login: str, password: Secret) -> str:
    """Return the value of a Basic Authorization header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{login}:{password.reveal()}".encode()).decode()
