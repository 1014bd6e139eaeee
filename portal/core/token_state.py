"""States of tokens, provider hosts and client secrets, as pure functions of facts and ``now``."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.core.language import _, _n
from portal.core.severity import Severity


@dataclass(frozen=True)
class State:
    """One state, for display in pages, tables and the command line.

    ``word`` is followed by ``at`` ("valid until …"). ``next_try`` is the portal's next attempt; None: none planned.
    ``remedy`` is the action required of a user; empty: none.
    """

    name: str
    severity: Severity
    word: str
    at: datetime | None = None
    next_try: datetime | None = None
    why: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class TokenFacts:
    """Facts about a token and its configuration; named as the columns of ``portal.models``."""

    config_valid: bool
    credentials_refused_at: datetime | None
    credentials_answer: str | None
    signed_in_at: datetime | None
    expires_at: datetime | None
    has_access_token: bool
    has_refresh_token: bool
    app_only: bool
    #: A service account has no mailbox yet to request a token for.
    lacks_mailbox: bool
    refresh_token_used_at: datetime | None
    refresh_token_expires_at: datetime | None
    refresh_token_idle_life: timedelta | None
    #: Google's consent screen is in Testing.
    in_testing: bool
    failing_since: datetime | None
    failure: str | None
    first_refused_at: datetime | None
    refused_at: datetime | None
    due_at: datetime | None
    margin: timedelta

    @property
    def renewable(self) -> bool:
        """Whether the portal can refresh the token without a sign-in."""
        return self.has_refresh_token or self.app_only


SIGN_IN = _("Request a new token: sign the mailbox in.")
SIGN_IN_AGAIN = _("Request a new token: sign the mailbox in again. Everything else is kept.")
FIX_APP = _("Fix the app at the provider, then press Request new token. No sign-in is needed.")
CORRECT_CONFIG = _(
    "Correct the scope, tenant and URLs of the configuration. The tokens are kept and refreshed automatically."
)
NEW_SECRET = _("Enter a new client secret. The tokens are kept and refreshed automatically.")


def access_token(facts: TokenFacts, now: datetime) -> State:
    """Return the state of an access token: the first that applies."""
    if not facts.config_valid:
        return State(
            "configuration invalid",
            Severity.IDLE,
            _("configuration is set to invalid"),
            remedy=_("Set its Validity to valid."),
        )
    if facts.credentials_refused_at:
        return _rejected(facts)
    if facts.refused_at:
        remedy = FIX_APP if facts.app_only else SIGN_IN_AGAIN
        return State(
            "refused", Severity.CRITICAL, _("rejected since"), facts.refused_at, why=facts.failure or "", remedy=remedy
        )
    if not facts.has_access_token and not facts.failing_since:
        return State("never requested", Severity.IDLE, _("never requested"), remedy=_first_step(facts))
    if facts.failing_since:
        return _unavailable(facts)
    return _by_end(facts, now)


def _first_step(facts: TokenFacts) -> str:
    if facts.lacks_mailbox:
        return _("Add the first mailbox on the page of the configuration. No sign-in is needed.")
    return _("Press Request new token. No sign-in is needed.") if facts.app_only else SIGN_IN


#: Errors (RFC 6749 section 5.2) that a new secret does not fix.
_OF_THE_REQUEST = ("invalid_request", "invalid_scope", "unsupported_grant_type", "invalid_resource", "invalid_target")


def is_about_the_request(answer: str | None) -> bool:
    """Whether the provider rejects the request's parameters, not the client's credentials."""
    return (answer or "").startswith(_OF_THE_REQUEST)


def _rejected(facts: TokenFacts) -> State:
    why = facts.credentials_answer or ""
    name, word, remedy = "credentials rejected", _("client ID or secret rejected since"), NEW_SECRET
    if is_about_the_request(why):
        name, word, remedy = "configuration rejected", _("configuration rejected since"), CORRECT_CONFIG
    return State(name, Severity.CRITICAL, word, facts.credentials_refused_at, why=why, remedy=remedy)


def _unavailable(facts: TokenFacts) -> State:
    if facts.first_refused_at:
        word = _("rejected once, retrying since")
        why = facts.failure or ""
        return State(
            "refusal unconfirmed", Severity.WARNING, word, facts.first_refused_at, next_try=facts.due_at, why=why
        )
    return State(
        "provider unavailable",
        Severity.WARNING,
        _("provider unavailable since"),
        facts.failing_since,
        next_try=facts.due_at,
        why=facts.failure or "",
    )


def _by_end(facts: TokenFacts, now: datetime) -> State:
    if facts.expires_at is None:
        return State("valid", Severity.OK, _("valid, expiry unknown"), next_try=facts.due_at)
    if now >= facts.expires_at:
        return _expired(facts)
    # The refresh is overdue by more than half the margin: a warning, not yet a failure.
    if facts.due_at and now > facts.due_at + facts.margin / 2:
        return State("expiring", Severity.WARNING, _("expiring"), facts.expires_at, next_try=facts.due_at)
    if not facts.renewable and now > facts.expires_at - facts.margin:
        return State("expiring", Severity.WARNING, _("expiring"), facts.expires_at, remedy=SIGN_IN_AGAIN)
    return State("valid", Severity.OK, _("valid until"), facts.expires_at, next_try=facts.due_at)


def _expired(facts: TokenFacts) -> State:
    if facts.renewable:
        return State(
            "expired",
            Severity.CRITICAL,
            _("expired since"),
            facts.expires_at,
            next_try=facts.due_at,
            remedy=_("Check on the Status page that workers and clock are running, or press Refresh now."),
        )
    return State("expired", Severity.CRITICAL, _("expired since"), facts.expires_at, remedy=SIGN_IN_AGAIN)


def refresh_token(facts: TokenFacts, now: datetime) -> State:
    """Return the state of a refresh token: the first that applies."""
    if facts.app_only:
        return State("none asked for", Severity.IDLE, _("not available for this flow"))
    if facts.refused_at:
        return State(
            "refused",
            Severity.CRITICAL,
            _("rejected since"),
            facts.refused_at,
            why=facts.failure or "",
            remedy=SIGN_IN_AGAIN,
        )
    if facts.signed_in_at is None:
        return State("never requested", Severity.IDLE, _("none requested yet"), remedy=SIGN_IN)
    if not facts.has_refresh_token:
        return State(
            "none given",
            Severity.WARNING,
            _("none issued"),
            why=_("The provider issued no refresh token, so access ends when the access token expires."),
            remedy=_(
                "Ask for offline access (Microsoft: scope offline_access; Google: prompt=consent), then sign in again."
            ),
        )
    if facts.refresh_token_expires_at:
        return _refresh_by_end(facts.refresh_token_expires_at, now)
    if facts.in_testing:
        return _in_testing(facts.signed_in_at + TESTING_LIFE, now)
    if facts.refresh_token_idle_life and facts.refresh_token_used_at:
        dead_after = facts.refresh_token_used_at + facts.refresh_token_idle_life
        if now >= dead_after:
            return State("likely dead", Severity.WARNING, _("probably expired since"), dead_after, remedy=SIGN_IN_AGAIN)
        return State("valid", Severity.OK, _("valid; expires if not used before"), dead_after)
    return State("valid", Severity.OK, _("valid, expiry unknown"))


#: https://developers.google.com/identity/protocols/oauth2#expiration
TESTING_LIFE = timedelta(days=7)


def _in_testing(dead_after: datetime, now: datetime) -> State:
    word = _("probably expired since") if now >= dead_after else _("probably expires after")
    why = _("Google's consent screen is in Testing, so every sign-in expires after seven days.")
    remedy = _("Publish the app or make it Internal at Google, switch Testing off here, and sign in again.")
    return State(
        "likely dead" if now >= dead_after else "valid", Severity.WARNING, word, dead_after, why=why, remedy=remedy
    )


def _refresh_by_end(expires_at: datetime, now: datetime) -> State:
    if now >= expires_at:
        return State("expired", Severity.CRITICAL, _("expired since"), expires_at, remedy=SIGN_IN_AGAIN)
    return State("valid", Severity.OK, _("valid until"), expires_at)


def provider_host(failing_since: datetime | None, failure: str | None, next_try: datetime | None) -> State:
    """Return the state of a provider's host."""
    if failing_since is None:
        return State("good", Severity.OK, _("responding"))
    remedy = _("No action required. The tokens are refreshed automatically when the provider responds again.")
    return State(
        "unavailable", Severity.WARNING, _("unavailable since"), failing_since, next_try, failure or "", remedy
    )


def client_secret(ends_at: datetime | None, refused_at: datetime | None, warning: timedelta, now: datetime) -> State:
    """Return the state of one client secret: the first that applies. ``warning``: time before its expiry to warn."""
    if refused_at:
        return State("refused", Severity.CRITICAL, _("rejected since"), refused_at, remedy=NEW_SECRET)
    if ends_at is None:
        return State("no end known", Severity.OK, _("expiry unknown"))
    if now >= ends_at:
        return State("ended", Severity.CRITICAL, _("expired on"), ends_at, remedy=NEW_SECRET)
    if now >= ends_at - warning:
        days = (ends_at - now).days
        return State(
            "ending",
            Severity.WARNING,
            _n("expires in {count} day, on", "expires in {count} days, on", days),
            ends_at,
            remedy=NEW_SECRET,
        )
    return State("good", Severity.OK, _("valid until"), ends_at)


#: Requested for the user's identity and a refresh token; providers do not list them in the granted scope.
_NO_PERMISSION = {"openid", "profile", "email", "offline_access"}


def missing_scopes(asked: str, granted: str | None) -> list[str]:
    """Return the requested permissions that were not granted; an empty list before the first grant."""
    if granted is None:
        return []
    given = {scope.casefold() for scope in granted.split()}
    return [
        scope for scope in asked.split() if scope.casefold() not in given | _NO_PERMISSION and "/.default" not in scope
    ]
