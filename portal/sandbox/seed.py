"""Example data of the demo: an administrator, a mailbox being fetched, and a mailbox without a sign-in."""

import secrets
import time
from datetime import datetime, timedelta

from portal import providers
from portal.access import users
from portal.core.config import Config
from portal.core.encryption import Secret
from portal.incoming import destinations, mail_accounts
from portal.models import (
    AccountType,
    AfterFetch,
    Destination,
    DestinationType,
    MailAccount,
    OutboundProfile,
    OutboundType,
    Role,
    Token,
    TokenConfig,
    User,
)
from portal.outgoing import outbound_profiles
from portal.protocols import token_responses
from portal.sandbox import mail_generator, store
from portal.sandbox.addresses import HOST, Addresses
from portal.system import settings
from portal.tokens import config_fields, refresh_results, token_configs

ADMIN, ADMIN_PASSWORD = "admin", "sandbox-admin"
ACTOR = "sandbox"


def create(config: Config, *, now: datetime) -> None:
    """Create missing example data; existing rows stay unchanged."""
    addresses = Addresses.of(config)
    if not User.select().exists():
        users.add(ADMIN, Role.ADMIN, Secret(ADMIN_PASSWORD), actor=ACTOR, now=now)
        settings.change({"FetchInterval": "15", "FQDN": config.address}, actor=ACTOR, now=now)
    if TokenConfig.select().exists():
        _follow_ports(addresses)
        return
    inbox = config.data_dir / "mail" / "inbox"
    fields = destinations.Fields("Inbox", DestinationType.MAILDIR, str(inbox))
    destination = destinations.add(fields, actor=ACTOR, now=now)
    names = ("help desk", "invoices", "reports")
    flowing, waiting, by_graph = (_register(f"Sandbox {name}", addresses, now) for name in names)
    _sign_in(flowing, store.USERS[0], now)
    _sign_in(by_graph, store.USERS[2], now)
    _profile(store.USERS[0], flowing, addresses, now)
    imap, graph = (AccountType.IMAPS, addresses.imap_port), (AccountType.MSGRAPH, addresses.graph_port)
    _account("Help desk", store.USERS[0], flowing, destination, imap, now)
    _account("Invoices", store.USERS[1], waiting, destination, imap, now)
    _account("Reports", store.USERS[2], by_graph, destination, graph, now)
    for user in store.USERS:
        for _ in range(5):
            store.add_mail(user, mail_generator.message(user))


def _register(name: str, addresses: Addresses, now: datetime) -> Token:
    urls = _urls(addresses)
    entered = config_fields.from_template(providers.find("sandbox"), name=name, client_id=store.CLIENT_ID, **urls)
    config = token_configs.add(
        providers.find("sandbox"), entered, config_fields.NewSecret(Secret(store.CLIENT_SECRET)), actor=ACTOR, now=now
    )
    return token_configs.find(config.name)


def _urls(addresses: Addresses) -> dict[str, str]:
    base = addresses.provider
    token = f"{base}/token"
    return {
        "authorize_url": f"{base}/authorize",
        "token_url": token,
        "refresh_url": token,
        "jwks_url": f"{base}/jwks",
        "issuer": base,
    }


def _follow_ports(addresses: Addresses) -> None:
    """Update the stored addresses and ports of the sandbox servers after a start on another port."""
    own = TokenConfig.template == "sandbox"
    for config in TokenConfig.select().where(own):
        for name, url in _urls(addresses).items():
            setattr(config, name, url)
        config.save()
    tokens = Token.select(Token.id).join(TokenConfig).where(own)
    ports = (
        (MailAccount, AccountType.IMAPS, addresses.imap_port),
        (MailAccount, AccountType.MSGRAPH, addresses.graph_port),
        (OutboundProfile, OutboundType.SMTPS, addresses.smtp_port),
    )
    for model, kind, port in ports:
        here = (model.host == HOST) & (model.type == kind) & model.token.in_(tokens)
        model.update(port=port).where(here).execute()


def _sign_in(token: Token, user: str, now: datetime) -> None:
    """Store a finished sign-in for this token."""
    refresh_token = secrets.token_urlsafe(32)
    store.Grant.create(
        access_token=secrets.token_urlsafe(32),
        refresh_token=refresh_token,
        user=user,
        scope=token.token_config.scope,
        expires_at=int(time.time()),
    )
    soon = now + timedelta(seconds=1)
    answer = token_responses.TokenAnswer(
        Secret("ended"), Secret(refresh_token), soon, None, token.token_config.scope, None
    )
    refresh_results.keep(token, answer, now=now)
    token.owner, token.signed_in_at, token.due_at = user, now, now
    token.overwrite()


def _profile(login: str, token: Token, addresses: Addresses, now: datetime) -> None:
    """Create an outbound profile that only delivers to the mailboxes of the sandbox."""
    entered = outbound_profiles.Fields(
        name="Sandbox", type=OutboundType.SMTPS, host=HOST, port=addresses.smtp_port, login=login, token=token,
        senders="@sandbox.test", fallback=True, comment="Delivers to the mailboxes of the sandbox",
    )  # fmt: skip
    outbound_profiles.add(entered, None, actor=ACTOR, now=now)


def _account(
    name: str, login: str, token: Token, to: Destination, server: tuple[AccountType, int], now: datetime
) -> None:
    kind, port = server
    entered = mail_accounts.Fields(
        name=name,
        type=kind,
        host=HOST,
        port=port,
        login=login,
        token=token,
        destination=to,
        after_fetch=AfterFetch.DELETE,
        push=kind.is_imap,
    )
    mail_accounts.add(entered, None, actor=ACTOR, now=now)
