"""What the banners below the top menu say. Computed from the rows: a banner goes when its cause is mended.

What was there is kept as notices, so that web services can be told of a beginning and of an end.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from portal import announcements, leading, occasions, provider_hosts, settings, status, token_facts
from portal.db import transaction
from portal.models import (
    ClientAuth,
    ClientSecret,
    MailAccount,
    Notice,
    OutboundProfile,
    ProviderHost,
    Token,
    TokenConfig,
    Validity,
    WebService,
    tuples,
)
from portal.occasions import Occasion

_EVERY = timedelta(seconds=30)


@dataclass(frozen=True)
class Banner:
    """One outage: what, since when and why (in ``state``), what stands still, and the row that mends it.

    ``config`` None: nobody here can mend it. ``key``: what it is about, the same for as long as it lasts.
    """

    key: str
    text: str
    state: status.State
    config: TokenConfig | None
    standing_still: list[str]


def banners(now: datetime) -> list[Banner]:
    """The outages that the configurations' switches ask to announce, by name of configuration.

    A client that the provider rejects is one outage, however many tokens it has; so is a host that does not answer.
    """
    margin = settings.refresh_margin()
    accounts = _dependants_by_token()
    hosts = {host.name: host for host in provider_hosts.outages()}
    found: dict[object, Banner] = {host.name: _of_host(host) for host in hosts.values()}
    for token in _suspects(now):
        config = token.token_config
        if token.failing_since and token.refused_at is None and config.host in hosts:
            found[config.host].standing_still.extend(accounts.get(token.id, []))
            continue
        switches = announcements.Switches(config.notify_expired_token, config.notify_expired_refresh_token)
        told = announcements.announcement(token_facts.of(token, margin), switches, now)
        if told is None:
            continue
        key = config.id if told.whole_config else (config.id, token.id)
        name = config.name if told.whole_config else token.name
        about = f"configuration {config.id}" if told.whole_config else f"token {token.id}"
        banner = found.setdefault(key, Banner(about, told.sentence.format(name), told.state, config, []))
        banner.standing_still.extend(accounts.get(token.id, []))
    short = [name for name, host in hosts.items() if not status.is_outage(host.failing_since, now)]
    return [*(banner for key, banner in found.items() if key not in short), *_ending_secrets(now)]


def _of_host(host: ProviderHost) -> Banner:
    state = status.provider_host(host.failing_since, host.failure, host.not_before)
    return Banner(f"host {host.name}", f"{host.name} does not answer.", state, None, [])


def _ending_secrets(now: datetime) -> list[Banner]:
    """From 30 days ahead: a missed day is no missed warning. Only where no other secret lasts longer."""
    soon = now + status.SECRET_WARNING
    lasting = ClientSecret.select(ClientSecret.token_config).where(
        ClientSecret.refused_at.is_null(), ClientSecret.ends_at.is_null() | (ClientSecret.ends_at > soon)
    )
    ending = (
        ClientSecret.select(ClientSecret, TokenConfig)
        .join(TokenConfig)
        .where(
            ClientSecret.ends_at <= soon,
            ClientSecret.refused_at.is_null(),
            TokenConfig.validity == Validity.VALID,
            TokenConfig.client_auth != ClientAuth.PRIVATE_KEY_JWT,
            TokenConfig.id.not_in(lasting),
        )
        .order_by(TokenConfig.name, ClientSecret.ends_at)
    )
    last = {row.token_config.id: row for row in ending}
    return [
        Banner(
            f"secret of {row.token_config.id}",
            f"The client secret of “{row.token_config.name}” ends.",
            status.client_secret(row.ends_at, None, now),
            row.token_config,
            [],
        )
        for row in last.values()
    ]


def _suspects(now: datetime) -> list[Token]:
    """Signed-in tokens of valid configurations with anything that may be worth a banner, in one query."""
    ended = (Token.expires_at <= now) | (Token.refresh_token_expires_at <= now)
    trouble = Token.refused_at.is_null(False) | TokenConfig.credentials_refused_at.is_null(False) | ended
    return list(
        Token.select(Token, TokenConfig)
        .join(TokenConfig)
        .where(Token.signed_in_at.is_null(False), TokenConfig.validity == Validity.VALID, trouble)
        .order_by(TokenConfig.name, Token.id)
    )


def _dependants_by_token() -> dict[int, list[str]]:
    """What stands still with each token: mail accounts by their names, the others with what they are."""
    names: dict[int, list[str]] = {}
    for model, kind in ((MailAccount, ""), (OutboundProfile, "outbound profile "), (WebService, "web service ")):
        valid = model.select(model.name, model.token).where(
            model.validity == Validity.VALID, model.token.is_null(False)
        )
        for name, token_id in tuples(valid.order_by(model.name)):
            names.setdefault(token_id, []).append(f"{kind}{name}")
    return names


# Kept -----------------------------------------------------------------------------------------------------------------


def keep(now: datetime) -> None:
    """Twice a minute, open a notice for each outage that is new and close those that are over; who listens is told."""
    if not leading.is_turn("notices", _EVERY, now):
        return
    there = {banner.key: banner for banner in banners(now)}
    open_ones = {row.key: row for row in Notice.select().where(Notice.closed_at.is_null())}
    for key in there.keys() - open_ones.keys():
        _open(there[key], now)
    for key in open_ones.keys() - there.keys():
        _close(open_ones[key], now)


def _open(banner: Banner, now: datetime) -> None:
    facts = {"text": banner.text, "reason": banner.state.why, "standing_still": banner.standing_still}
    with transaction():
        Notice.create(key=banner.key, text=banner.text, opened_at=now)
        occasion = Occasion.NOTICE_OPENED
        occasions.tell(occasions.listening(occasion), occasion, facts, banner.text, now=now)


def _close(row: Notice, now: datetime) -> None:
    facts = {"text": row.text, "minutes": int((now - row.opened_at).total_seconds() // 60)}
    with transaction():
        row.closed_at = now
        row.save()
        occasion = Occasion.NOTICE_CLOSED
        occasions.tell(occasions.listening(occasion), occasion, facts, row.text, now=now)
