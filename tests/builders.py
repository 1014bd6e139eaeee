"""Create rows with default values; a test passes only the values that it checks."""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

from portal import providers
from portal.access import sessions, users
from portal.core.encryption import Secret
from portal.incoming import destinations, mail_accounts
from portal.models import (
    AccountType,
    AfterFetch,
    Destination,
    DestinationType,
    IdentityProvider,
    LoginSession,
    MailAccount,
    Notice,
    NoticeChannel,
    OutboundMessage,
    OutboundProfile,
    OutboundType,
    Role,
    ServiceAuth,
    Token,
    TokenConfig,
    User,
    Validity,
    WebService,
    WebServiceCall,
)
from portal.monitoring import notice_channels
from portal.outgoing import outbound_profiles, submit
from portal.tokens import config_fields, constant_parameters, token_configs
from portal.triggers import triggers
from portal.web_services import web_services

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ADMIN, OPERATOR, VIEWER = "Alice", "Bob", "Charlie"
PASSWORD = "a long enough password 4711"
CLIENT_SECRET = "client-secret-Kq7ZxW93hhTTs"
ACCESS_TOKEN = "access-token-8Hq2mVv0PPbzXQk"
REFRESH_TOKEN = "refresh-token-5Tz9uKcc1LLwwRd"
#: Long, unusual values, so that a search finds every leak and nothing else.
SECRETS = [CLIENT_SECRET, ACCESS_TOKEN, REFRESH_TOKEN, PASSWORD]
_number = count(1)


def make_user(name: str = ADMIN, role: Role = Role.ADMIN) -> User:
    return users.add(name, role, Secret(PASSWORD), actor="test", now=NOW)


def make_session(user: User) -> LoginSession:
    key = sessions.open_session(user, now=NOW)
    session = sessions.session_of(key.reveal(), now=NOW)
    assert session is not None
    return session


def make_config(
    name: str = "",
    *,
    base: str = "http://127.0.0.1:9",
    template: str = "generic",
    secret: str | None = CLIENT_SECRET,
    validity: Validity = Validity.VALID,
    notify_expired_token: bool = False,
    notify_expired_refresh_token: bool = True,
    issuer: str = "",
    jwks_url: str = "",
    userinfo_url: str = "",
    revocation: bool = False,
    device: bool = False,
) -> TokenConfig:
    preset = providers.find(template)
    entered = config_fields.Fields(
        authorize_parameters=constant_parameters.written(preset.authorize_parameters),
        name=name or f"Configuration {next(_number)}",
        client_id="client-1111",
        authorize_url=f"{base}/authorize",
        revocation_url=f"{base}/revoke" if revocation else "",
        device_url=f"{base}/device" if device else "",
        token_url=f"{base}/token",
        refresh_url=f"{base}/token",
        scope="mail offline_access",
        issuer=issuer,
        jwks_url=jwks_url,
        userinfo_url=userinfo_url,
        validity=validity,
        notify_expired_token=notify_expired_token,
        notify_expired_refresh_token=notify_expired_refresh_token,
    )
    return token_configs.add(
        preset, entered, config_fields.NewSecret(Secret(secret) if secret else None), actor="test", now=NOW
    )


def make_token(
    config: TokenConfig | None = None,
    *,
    owner: str = "helpdesk@example.test",
    life: timedelta = timedelta(hours=1),
    refresh_token: str | None = REFRESH_TOKEN,
    signed_in_at: datetime = NOW,
    due_at: datetime | None = None,
) -> Token:
    """Create a signed-in token."""
    token = token_configs.tokens_of(config or make_config())[0]
    token.owner, token.signed_in_at, token.obtained_at = owner, signed_in_at, signed_in_at
    token.access_token = Secret(ACCESS_TOKEN)
    token.expires_at = signed_in_at + life
    token.refresh_token = Secret(refresh_token) if refresh_token else None
    token.refresh_token_used_at = signed_in_at
    token.granted_scope = "mail"
    token.due_at = due_at
    token.overwrite()
    return fresh(token)


def fresh(token: Token) -> Token:
    """Read the token again from the database."""
    row: Token = Token.get_by_id(token.id)
    return row


def make_destination(folder: Path, name: str = "Inbox") -> Destination:
    path = str(folder / "Maildir")
    return destinations.add(destinations.Fields(name, DestinationType.MAILDIR, path), actor="test", now=NOW)


def make_account(
    destination: Destination,
    token: Token | None = None,
    *,
    name: str = "",
    host: str = "127.0.0.1",
    port: int = 993,
    login: str = "helpdesk@sandbox.test",
    type: AccountType = AccountType.IMAPS,
    folder: str = "INBOX",
    after_fetch: AfterFetch = AfterFetch.KEEP,
    move_to: str = "",
    trusted: bool = False,
    validity: Validity = Validity.VALID,
) -> MailAccount:
    entered = mail_accounts.Fields(
        name=name or f"Account {next(_number)}",
        type=type,
        host=host,
        port=port,
        login=login,
        token=token,
        destination=destination,
        folder=folder,
        after_fetch=after_fetch,
        move_to=move_to,
        trusted=trusted,
        validity=validity,
    )
    password = None if token else Secret(PASSWORD)
    return mail_accounts.add(entered, password, actor="test", now=NOW)


def make_notice(text: str = "The refresh token for “Office” was refused.", **facts: Any) -> Notice:
    known: dict[str, Any] = {
        "key": f"test {next(_number)}", "cause": "refresh-token-revoked", "opened_at": NOW, "since": NOW,
        "affected": "Help desk", "remedy": "Press Request new token.", "of_machine": True,
    }  # fmt: skip
    return Notice.create(text=text, **(known | facts))


def make_profile(
    token: Token | None = None,
    *,
    name: str = "",
    port: int = 9,
    type: OutboundType = OutboundType.SMTP,
    login: str = "",
    password: str | None = None,
    senders: str = "",
    fallback: bool = True,
    sends_as: str = "",
    per_minute: int | None = None,
    per_day: int | None = None,
    connections: int = 1,
    validity: Validity = Validity.VALID,
) -> OutboundProfile:
    """Create an outbound profile for a server on this host, as the fallback profile by default."""
    entered = outbound_profiles.Fields(
        name=name or f"Outbound {next(_number)}",
        type=type,
        host="127.0.0.1",
        port=port,
        login=login or (token.owner or "" if token else ""),
        token=token,
        senders=senders,
        fallback=fallback,
        sends_as=sends_as,
        per_minute=per_minute,
        per_day=per_day,
        connections=connections,
        validity=validity,
    )
    return outbound_profiles.add(entered, Secret(password) if password else None, actor="test", now=NOW)


def make_message(
    profile: OutboundProfile | None = None,
    *,
    content: bytes = b"Subject: Hello\r\n\r\nHello.\r\n",
    sender: str = "ada@example.test",
    recipients: tuple[str, ...] = ("bob@example.test",),
    at: datetime = NOW,
) -> OutboundMessage:
    """Create a message that a program has submitted."""
    handed = submit.Submission(BytesIO(content), sender, list(recipients), by="test", profile=profile)
    return submit.submit(handed, now=at)


def make_service(
    *,
    url: str = "http://127.0.0.1:9/hook",
    authentication: ServiceAuth = ServiceAuth.NONE,
    token: Token | None = None,
    secret: str | None = None,
    name: str = "",
    **more: Any,
) -> WebService:
    entered = web_services.Fields(
        name=name or f"Service {next(_number)}", url=url, authentication=authentication, token=token, **more
    )
    return web_services.add(entered, Secret(secret) if secret else None, actor="test", now=NOW)


def make_call(service: WebService, **facts: object) -> WebServiceCall:
    return triggers.queue_call(service, "test", triggers.variables("by hand", {"values": facts}, NOW), now=NOW)


def make_notice_channel(name: str = "Chat", url: str = "json://127.0.0.1:9/hook") -> NoticeChannel:
    return notice_channels.add(notice_channels.Fields(name), Secret(url), actor="test", now=NOW)


def make_identity_provider(name: str = "Staff", *, issuer: str = "https://login.example.test") -> IdentityProvider:
    """Create an identity provider without asking it for its endpoints."""
    endpoints = {"authorize_url": f"{issuer}/authorize", "token_url": f"{issuer}/token", "jwks_url": f"{issuer}/jwks"}
    row: IdentityProvider = IdentityProvider.create(
        name=name, issuer=issuer, client_id="portal", viewer_groups="staff", created_at=NOW, changed_at=NOW, **endpoints
    )
    return row


def make_one_of_each(folder: Path) -> None:
    """One row of each kind that has a page of its own; ``folder`` holds the Maildir."""
    token = make_token()
    make_account(make_destination(folder), token)
    make_message(make_profile(token))
    make_call(make_service())
    make_notice()
    make_identity_provider()
    make_notice_channel()
