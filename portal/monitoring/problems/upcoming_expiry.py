"""Warnings about client secrets, certificates, refresh tokens and ways to sign in that end soon."""

from datetime import UTC, datetime, timedelta

from cryptography import x509

from portal import causes, providers
from portal.causes import Where
from portal.core import token_state
from portal.core.language import Text, _
from portal.models import (
    CertificateRenewal,
    ClientAuth,
    ClientSecret,
    Flow,
    MailAccount,
    OutboundProfile,
    Row,
    Token,
    TokenConfig,
    Validity,
    WebService,
)
from portal.monitoring.problems.problem import Problem, problem
from portal.monitoring.problems.tokens import facts_of
from portal.system import settings
from portal.tokens import certificates

#: Refresh tokens of a Google app in Testing live for seven days; the warning is shown for the last two.
_TESTING_WARNING = timedelta(days=2)
#: https://techcommunity.microsoft.com/blog/exchange, "Exchange Online SMTP AUTH Basic Authentication deprecation".
_PASSWORDS_END = datetime(2026, 12, 31, tzinfo=UTC)


def soon(now: datetime) -> list[Problem]:
    """Return a warning for each expiry within the warning times of the settings."""
    limit, idle_limit = now + settings.secret_warning(), now + settings.token_warning()
    # A rejected client secret is reported as a problem of its own.
    rejected = {config.id for config in TokenConfig.select().where(TokenConfig.credentials_refused_at.is_null(False))}
    secrets = [one for one in _secrets(limit, now) if one.about_id not in rejected]
    return [
        *secrets, *_certificates(limit, now), *_refresh_tokens(idle_limit, idle_limit, now),
        *_failed_renewals(), *_private_cas(limit), *_passwords_at_microsoft(),
    ]  # fmt: skip


def coming(limit: datetime, now: datetime) -> list[Problem]:
    """Return the expiries up to ``limit``, the next first; idle refresh tokens only within their warning time."""
    idle_limit = now + settings.token_warning()
    found = [*_secrets(limit, now), *_certificates(limit, now), *_refresh_tokens(limit, idle_limit, now)]
    return sorted([*found, *_private_cas(limit)], key=lambda one: one.since or now)


def _secrets(limit: datetime, now: datetime) -> list[Problem]:
    """Return the expiring client secrets of configurations that have no other secret for the time after it."""
    usable = ClientSecret.refused_at.is_null() & (TokenConfig.validity == Validity.VALID)
    with_secret = TokenConfig.client_auth.in_([auth for auth in ClientAuth if auth.has_secrets])
    ending = ClientSecret.select(ClientSecret.token_config).where(ClientSecret.ends_at <= limit)
    rows = ClientSecret.select(ClientSecret, TokenConfig).join(TokenConfig).where(usable, with_secret)
    of_these = rows.where(TokenConfig.id.in_(ending)).order_by(TokenConfig.name, ClientSecret.set_at, ClientSecret.id)
    by_config: dict[int, list[ClientSecret]] = {}
    for row in of_these:
        by_config.setdefault(row.token_config.id, []).append(row)
    ends = [(some[0].token_config, _last_secret_end(some, limit)) for some in by_config.values()]
    return [_of_config("client-secret", config, at, now) for config, at in ends if at]


def _last_secret_end(secrets: list[ClientSecret], limit: datetime) -> datetime | None:
    """Return the last known end of a configuration's secrets, in their order; None: one lasts beyond ``limit``.

    The end of an older secret may be unknown: it was probably set to end earlier than the newer ones.
    """
    last: datetime | None = None
    for secret in secrets:
        if secret.ends_at is None:
            last = None
        elif secret.ends_at > limit:
            return None
        else:
            last = max(last or secret.ends_at, secret.ends_at)
    return last


def _certificates(limit: datetime, now: datetime) -> list[Problem]:
    proving = TokenConfig.select().where(
        TokenConfig.client_auth == ClientAuth.PRIVATE_KEY_JWT,
        TokenConfig.certificate.is_null(False),
        TokenConfig.validity == Validity.VALID,
    )
    ends = [(config, certificates.ends_at(config)) for config in proving.order_by(TokenConfig.name)]
    return [_of_config("client-certificate", config, at, now) for config, at in ends if at <= limit]


def _failed_renewals() -> list[Problem]:
    """Return a warning for each certificate that the portal should have renewed."""
    failed = CertificateRenewal.select(CertificateRenewal, TokenConfig).join(TokenConfig)
    return [
        problem(
            f"certificate renewal of {row.token_config.id}",
            _(
                "The certificate of “{name}” could not be renewed. It expires on {at:%Y-%m-%d}.",
                name=row.token_config.name,
                at=certificates.ends_at(row.token_config),
            ),
            causes.named(row.failure_cause or causes.UNKNOWN),
            row.failing_since,
            about=row.token_config,
            facts={"client_id": row.token_config.client_id},
            response=row.failure,
            where=Where.PROVIDER,
        )
        for row in failed.where(CertificateRenewal.failing_since.is_null(False)).order_by(TokenConfig.name)
        if row.token_config.renews_certificate
    ]


def _of_config(cause: str, config: TokenConfig, at: datetime, now: datetime) -> Problem:
    ended = at <= now
    what, expired, expires = _ENDS[cause]
    return problem(
        f"{what} of {config.id}",
        Text(expired if ended else expires, name=config.name, at=at),
        causes.named(f"{cause}-{'ended' if ended else 'ends-soon'}"),
        at,
        about=config,
        facts={"client_id": config.client_id},
    )


#: The key of the problem, and its texts after and before the end.
_ENDS = {
    "client-secret": (
        "client secret",
        _("The client secret of “{name}” expired on {at:%Y-%m-%d}."),
        _("The client secret of “{name}” expires on {at:%Y-%m-%d}."),
    ),
    "client-certificate": (
        "certificate",
        _("The certificate of “{name}” expired on {at:%Y-%m-%d}."),
        _("The certificate of “{name}” expires on {at:%Y-%m-%d}."),
    ),
}


def _refresh_tokens(limit: datetime, idle_limit: datetime, now: datetime) -> list[Problem]:
    alive = Token.refused_at.is_null() & Token.refresh_token.is_null(False) & Token.signed_in_at.is_null(False)
    here = (TokenConfig.validity == Validity.VALID) & (TokenConfig.flow == Flow.AUTHORIZATION_CODE)
    unasked = TokenConfig.credentials_refused_at.is_null()
    # The query leaves out nearly all rows: there may be tens of thousands of tokens.
    idle = Token.refresh_token_used_at <= idle_limit - _shortest_idle_life()
    near = (Token.refresh_token_expires_at <= limit) | TokenConfig.in_testing | idle
    tokens = Token.select(Token, TokenConfig).join(TokenConfig).where(alive, here, unasked, near).order_by(Token.id)
    endings = [(token, *ending) for token in tokens if (ending := _ending(token, limit, idle_limit, now))]
    return [
        problem(
            f"end of token {token.id}",
            Text(text, name=token.name, at=at),
            causes.named(cause),
            at,
            about=token.token_config,
            facts=facts_of(token),
            announced=token.token_config.notify_expired_refresh_token,
        )
        for token, cause, text, at in endings
    ]


_EXPIRES = _("The refresh token for “{name}” expires on {at:%Y-%m-%d}.")
_PROBABLY_EXPIRES = _("The refresh token for “{name}” probably expires on {at:%Y-%m-%d}.")
_PROBABLY_EXPIRED = _("The refresh token for “{name}” probably expired on {at:%Y-%m-%d}.")


def _shortest_idle_life() -> timedelta:
    """Return the shortest time after which a provider expires an unused refresh token."""
    lives = [template.refresh_token_idle_life for template in providers.offered()]
    return min((life for life in lives if life), default=timedelta(days=36500))


def _ending(token: Token, limit: datetime, idle_limit: datetime, now: datetime) -> tuple[str, str, datetime] | None:
    """Return cause, wording and time of the expiry of a refresh token; None: no expiry is near."""
    named = token.refresh_token_expires_at
    # A provider that rotates refresh tokens extends the expiry with each refresh.
    # Before the first refresh it is unknown whether the provider rotates.
    if named and now < named <= limit and not token.rotates and token.obtained_at != token.signed_in_at:
        return "refresh-token-ends-soon", _EXPIRES, named
    if token.token_config.in_testing and token.signed_in_at:
        at = token.signed_in_at + token_state.TESTING_LIFE
        return ("google-testing", _PROBABLY_EXPIRES, at) if at <= _testing_limit(limit, now) else None
    idle, used = providers.of(token.token_config.template).refresh_token_idle_life, token.refresh_token_used_at
    if named or not (idle and used) or used + idle > idle_limit:
        return None
    if used + idle <= now:
        return "refresh-token-likely-dead", _PROBABLY_EXPIRED, used + idle
    return "refresh-token-ends-soon", _PROBABLY_EXPIRES, used + idle


def _testing_limit(limit: datetime, now: datetime) -> datetime:
    """Return the limit for apps in Testing: with a warning time of seven days or more, the warning would never end."""
    return now + _TESTING_WARNING if limit <= now + token_state.TESTING_LIFE else limit


def _passwords_at_microsoft() -> list[Problem]:
    """Return a warning for each outbound profile that signs in at Exchange Online with a password."""
    at_microsoft = OutboundProfile.host.endswith(".office365.com") | OutboundProfile.host.endswith(".outlook.com")
    by_password = OutboundProfile.token.is_null() & (OutboundProfile.login != "")
    rows = OutboundProfile.select().where(at_microsoft, by_password, OutboundProfile.validity == Validity.VALID)
    return [
        problem(
            f"password of outbound profile {row.id}",
            _(
                "Outbound profile “{name}” signs in at {host} with a password, which Microsoft switches off at the end "
                "of {at:%Y-%m}.",
                name=row.name,
                host=row.host,
                at=_PASSWORDS_END,
            ),
            causes.named("basic-auth-ends-soon"),
            _PASSWORDS_END,
            about=row,
            facts={"mailbox": row.login, "host": row.host},
        )
        for row in rows.order_by(OutboundProfile.name)
    ]


def _private_cas(limit: datetime) -> list[Problem]:
    found = []
    for model in (MailAccount, OutboundProfile, WebService):
        for row in model.select(model.id, model.name, model.ca).where(model.ca != "", model.validity == Validity.VALID):
            at = _last_end(row.ca)
            if at and at <= limit:
                found.append(_of_ca(row, at))
    return found


def _last_end(pem: str) -> datetime | None:
    """Return the latest expiry of the certificates in ``pem``, which may contain a certificate and its successor.

    None: ``cryptography`` cannot parse a certificate. The form validated it with OpenSSL, which is less strict.
    """
    try:
        return max(one.not_valid_after_utc for one in x509.load_pem_x509_certificates(pem.encode()))
    except (ValueError, x509.InvalidVersion):
        return None


def _of_ca(row: Row, at: datetime) -> Problem:
    name = getattr(row, "name", "")
    text = _("The CA certificate configured for “{name}” expires on {at:%Y-%m-%d}.", name=name, at=at)
    return problem(f"CA of {row.kind} {row.id}", text, causes.named("private-ca-ends-soon"), at, about=row)
