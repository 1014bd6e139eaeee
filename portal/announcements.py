"""What of a token is worth a banner: pure, like the states that it is made from."""

from dataclasses import dataclass
from datetime import datetime

from portal import status
from portal.status import State, TokenFacts


@dataclass(frozen=True)
class Switches:
    """Znuny's two per configuration: what is announced to admins below the top menu."""

    expired_token: bool
    expired_refresh_token: bool


@dataclass(frozen=True)
class Announcement:
    """An outage worth a banner; ``sentence`` has a place for the name of what is out."""

    sentence: str
    state: State
    whole_config: bool = False


def announcement(facts: TokenFacts, switches: Switches, now: datetime) -> Announcement | None:
    """What is to be announced of a token, None when nothing is. A token never requested is no outage."""
    if facts.signed_in_at is None or not facts.config_valid:
        return None
    access, refresh = status.access_token(facts, now), status.refresh_token(facts, now)
    if switches.expired_refresh_token:
        if facts.credentials_refused_at:
            what = "requests" if status.is_about_the_request(facts.credentials_answer) else "client ID or secret"
            return Announcement(f"The provider rejects the {what} of “{{}}”.", access, whole_config=True)
        if refresh.name == "refused":
            return Announcement("The refresh token for “{}” was refused.", refresh)
        if refresh.name == "expired":
            return Announcement("The refresh token for “{}” has expired.", refresh)
        if refresh.name == "none given" and access.name == "expired":
            return Announcement("The token for “{}” has expired and there is no refresh token.", access)
    has_ended = facts.expires_at is not None and now >= facts.expires_at
    if switches.expired_token and has_ended:
        return Announcement("The token for “{}” has expired.", access)
    return None
