"""Facts and ``now`` in, state out. The only place that knows what "expiring" means."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.core.severity import Tone


@dataclass(frozen=True)
class State:
    """One state, as pages, tables and the command line show it.

    ``word`` reads as a sentence with ``at`` behind it ("valid until …"); ``next_try`` is when the portal itself acts
    next, None when it does not; ``remedy`` is what a person can do, empty when nothing is asked.
    """

    name: str
    tone: Tone
    word: str
    at: datetime | None = None
    next_try: datetime | None = None
    why: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class TokenFacts:
    """What is known of a token and its configuration; see the columns of the same names."""

    config_valid: bool
    credentials_refused_at: datetime | None
    credentials_answer: str | None
    signed_in_at: datetime | None
    expires_at: datetime | None
    has_access_token: bool
    has_refresh_token: bool
    app_only: bool
    refresh_token_used_at: datetime | None
    refresh_token_expires_at: datetime | None
    refresh_token_idle_life: timedelta | None
    #: Google's consent screen is in Testing.
    in_testing: bool
    failing_since: datetime | None
    failure: str | None
    doubted_at: datetime | None
    refused_at: datetime | None
    look_at: datetime | None
    margin: timedelta

    @property
    def renewable(self) -> bool:
        """Whether the portal can renew it by itself."""
        return self.has_refresh_token or self.app_only


SIGN_IN = "Request a new token: sign the mailbox in."
SIGN_IN_AGAIN = "Request a new token: sign the mailbox in again. Everything else is kept."
ASK_AGAIN = "Mend it at the provider, then press Request new token; nobody needs to sign in."
CORRECT_IT = "Correct scope, tenant and URLs of the configuration. The tokens are kept and go on by themselves."
NEW_SECRET = "Enter a new client secret. The tokens are kept and go on by themselves."


def access_token(facts: TokenFacts, now: datetime) -> State:
    """The state of an access token; the first that holds."""
    if not facts.config_valid:
        return State(
            "configuration invalid", Tone.IDLE, "configuration is set to invalid", remedy="Set its Validity to valid."
        )
    if facts.credentials_refused_at:
        return _rejected(facts)
    if facts.refused_at:
        remedy = ASK_AGAIN if facts.app_only else SIGN_IN_AGAIN
        return State("refused", Tone.BROKEN, "refused since", facts.refused_at, why=facts.failure or "", remedy=remedy)
    if not facts.has_access_token and not facts.failing_since:
        remedy = "Press Request new token; nobody needs to sign in." if facts.app_only else SIGN_IN
        return State("never requested", Tone.IDLE, "never requested", remedy=remedy)
    if facts.failing_since:
        return _unavailable(facts)
    return _by_end(facts, now)


#: Errors (RFC 6749 section 5.2) that a new secret does not mend.
_OF_THE_REQUEST = ("invalid_request", "invalid_scope", "unsupported_grant_type", "invalid_resource", "invalid_target")


def is_about_the_request(answer: str | None) -> bool:
    """Whether the provider rejects what is asked for, and not who asks."""
    return (answer or "").startswith(_OF_THE_REQUEST)


def _rejected(facts: TokenFacts) -> State:
    why = facts.credentials_answer or ""
    name, word, remedy = "credentials rejected", "client ID or secret rejected since", NEW_SECRET
    if is_about_the_request(why):
        name, word, remedy = "configuration rejected", "configuration rejected since", CORRECT_IT
    return State(name, Tone.BROKEN, word, facts.credentials_refused_at, why=why, remedy=remedy)


def _unavailable(facts: TokenFacts) -> State:
    if facts.doubted_at:
        word = "refused once, to be confirmed; since"
        why = facts.failure or ""
        return State("refusal unconfirmed", Tone.WARNING, word, facts.doubted_at, next_try=facts.look_at, why=why)
    return State(
        "provider unavailable",
        Tone.WARNING,
        "provider unavailable since",
        facts.failing_since,
        next_try=facts.look_at,
        why=facts.failure or "",
    )


def _by_end(facts: TokenFacts, now: datetime) -> State:
    if facts.expires_at is None:
        return State("valid", Tone.GOOD, "valid, no end known", next_try=facts.look_at)
    if now >= facts.expires_at:
        return _expired(facts)
    # Half the margin after the planned renewal it has still not come: worth a look, no more.
    if facts.look_at and now > facts.look_at + facts.margin / 2:
        return State("expiring", Tone.WARNING, "expiring", facts.expires_at, next_try=facts.look_at)
    if not facts.renewable and now > facts.expires_at - facts.margin:
        return State("expiring", Tone.WARNING, "expiring", facts.expires_at, remedy=SIGN_IN_AGAIN)
    return State("valid", Tone.GOOD, "valid until", facts.expires_at, next_try=facts.look_at)


def _expired(facts: TokenFacts) -> State:
    if facts.renewable:
        return State(
            "expired",
            Tone.BROKEN,
            "expired since",
            facts.expires_at,
            next_try=facts.look_at,
            remedy="Are workers and clock running? See Status; or press Refresh now.",
        )
    return State("expired", Tone.BROKEN, "expired since", facts.expires_at, remedy=SIGN_IN_AGAIN)


def refresh_token(facts: TokenFacts, now: datetime) -> State:
    """The state of a refresh token; the first that holds."""
    if facts.app_only:
        return State("none asked for", Tone.IDLE, "not available for this flow")
    if facts.refused_at:
        return State(
            "refused", Tone.BROKEN, "refused since", facts.refused_at, why=facts.failure or "", remedy=SIGN_IN_AGAIN
        )
    if facts.signed_in_at is None:
        return State("never requested", Tone.IDLE, "none requested yet", remedy=SIGN_IN)
    if not facts.has_refresh_token:
        return State(
            "none given",
            Tone.WARNING,
            "none given",
            why="The provider gave no refresh token, so access ends with the access token.",
            remedy="Ask for offline access (Microsoft: scope offline_access; Google: prompt=consent), "
            "then sign in again.",
        )
    if facts.refresh_token_expires_at:
        return _refresh_by_end(facts.refresh_token_expires_at, now)
    if facts.in_testing:
        return _in_testing(facts.signed_in_at + TESTING_LIFE, now)
    if facts.refresh_token_idle_life and facts.refresh_token_used_at:
        dead_after = facts.refresh_token_used_at + facts.refresh_token_idle_life
        if now >= dead_after:
            return State("likely dead", Tone.WARNING, "likely dead since", dead_after, remedy=SIGN_IN_AGAIN)
        return State("valid", Tone.GOOD, "valid; dead if unused until", dead_after)
    return State("valid", Tone.GOOD, "valid, no end known")


#: https://developers.google.com/identity/protocols/oauth2#expiration
TESTING_LIFE = timedelta(days=7)


def _in_testing(dead_after: datetime, now: datetime) -> State:
    word = "likely dead since" if now >= dead_after else "likely dead after"
    why = "The consent screen is in Testing, so every sign-in ends after seven days."
    remedy = "Publish the app or make it Internal at Google, switch Testing off here, and sign in again."
    return State(
        "likely dead" if now >= dead_after else "valid", Tone.WARNING, word, dead_after, why=why, remedy=remedy
    )


def _refresh_by_end(expires_at: datetime, now: datetime) -> State:
    if now >= expires_at:
        return State("expired", Tone.BROKEN, "expired since", expires_at, remedy=SIGN_IN_AGAIN)
    return State("valid", Tone.GOOD, "valid until", expires_at)


def provider_host(failing_since: datetime | None, failure: str | None, next_try: datetime | None) -> State:
    """Whether a provider's host answers."""
    if failing_since is None:
        return State("good", Tone.GOOD, "answers")
    remedy = "Nothing is lost, and nobody needs to sign in: tokens go on by themselves when it is back."
    return State("unavailable", Tone.WARNING, "unavailable since", failing_since, next_try, failure or "", remedy)


def client_secret(ends_at: datetime | None, refused_at: datetime | None, warning: timedelta, now: datetime) -> State:
    """The state of one client secret; the first that holds. ``warning``: how long ahead its end is announced."""
    if refused_at:
        return State("refused", Tone.BROKEN, "refused since", refused_at, remedy=NEW_SECRET)
    if ends_at is None:
        return State("no end known", Tone.GOOD, "no end known")
    if now >= ends_at:
        return State("ended", Tone.BROKEN, "ended on", ends_at, remedy=NEW_SECRET)
    if now >= ends_at - warning:
        days = (ends_at - now).days
        return State(
            "ending", Tone.WARNING, f"ends in {days} day{'' if days == 1 else 's'}, on", ends_at, remedy=NEW_SECRET
        )
    return State("good", Tone.GOOD, "good until", ends_at)


#: Asked for to learn who signs in and to get a refresh token; providers do not list them among what they granted.
_NO_PERMISSION = {"openid", "profile", "email", "offline_access"}


def missing_scopes(asked: str, granted: str | None) -> list[str]:
    """Permissions that were asked for and not granted; none before anything was granted."""
    if granted is None:
        return []
    given = {scope.casefold() for scope in granted.split()}
    return [
        scope for scope in asked.split() if scope.casefold() not in given | _NO_PERMISSION and "/.default" not in scope
    ]
