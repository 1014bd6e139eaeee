"""What a new mail account needs, proposed from its address."""

from dataclasses import dataclass

from portal import providers
from portal.core.errors import NotFound
from portal.core.language import _
from portal.models import AccountType, MailAccount, Token, TokenConfig
from portal.protocols.server import Security, Server
from portal.providers import Template
from portal.tokens import provider_lookup
from portal.tokens.provider_lookup import Found

_TYPES = {Security.TLS: AccountType.IMAPS, Security.STARTTLS: AccountType.IMAPTLS, Security.NONE: AccountType.IMAP}


@dataclass(frozen=True)
class Proposal:
    """``host`` empty, ``port`` 0: the defaults of the type and the token. ``how``: one sentence for each observation.

    ``template``: that of the provider; None: the mailbox signs in with a password. ``token`` None with a template: no
    mailbox of this provider has signed in yet.
    """

    address: str
    type: AccountType
    host: str
    port: int
    template: Template | None
    token: Token | None
    how: tuple[str, ...]


def of(address: str) -> Proposal:
    """Invalid: it is no address. NotFound: the domain publishes neither its provider nor its IMAP server."""
    rows = Token.select(Token, TokenConfig).join(TokenConfig).order_by(Token.obtained_at.is_null(), Token.id)
    tokens = list(rows)
    if own := next((token for token in tokens if (token.owner or "").lower() == address.lower()), None):
        return _with_token(address, own, None, (_("The token {name} belongs to this mailbox.", name=own.name),))
    try:
        found = provider_lookup.by_address(address)
    except NotFound:
        return _with_password(address, provider_lookup.imap_server(address))
    fitting = [token for token in tokens if _is_of(token.token_config, found)]
    if not fitting:
        how = _("The provider is {name}. No mailbox has signed in there yet.", name=found.template.name)
        kind, host, port = _place(found.template, found.imap)
        return Proposal(address, kind, host, port, found.template, None, (*found.how, how))
    token = next((token for token in fitting if not token.token_config.flow.has_sign_in), fitting[0])
    return _with_token(address, token, found.imap, (*found.how, _use_of(token)))


def _use_of(token: Token) -> str:
    if not token.token_config.flow.has_sign_in:
        return _("The token {name} opens each mailbox that its app may access.", name=token.name)
    return _(
        "As a shared mailbox, it is opened with the token {name}, whose account needs full access to it. For its own "
        "sign-in, add another mailbox to the token configuration.",
        name=token.name,
    )


def _is_of(config: TokenConfig, found: Found) -> bool:
    """Whether a configuration is one of the found provider."""
    if found.endpoints:
        return config.token_url == found.endpoints.get("token_url")
    known, used = found.template, providers.of(config.template)
    return used.imap_host == known.imap_host != "" or used.graph_host == known.graph_host != ""


def _with_token(address: str, token: Token, imap: Server | None, how: tuple[str, ...]) -> Proposal:
    """An account of the token, at the server of another account of its configuration if there is one."""
    template = providers.of(token.token_config.template)
    of_config = Token.select(Token.id).where(Token.token_config == token.token_config.id)
    other: MailAccount | None = MailAccount.select().where(MailAccount.token.in_(of_config)).first()
    kind, host, port = (other.type, other.host, other.port) if other else _place(template, imap)
    return Proposal(address, kind, host, port, template, token, how)


def _place(template: Template, imap: Server | None) -> tuple[AccountType, str, int]:
    if imap and not template.imap_host:
        return _TYPES[imap.security], imap.host, imap.port
    if template.graph_host and not template.imap_host:
        return AccountType.MSGRAPH, template.graph_host, 0
    return AccountType.IMAPS, template.imap_host, 0


def _with_password(address: str, imap: Server | None) -> Proposal:
    if imap is None:
        domain = address.rpartition("@")[2]
        raise NotFound(
            _("{domain} publishes neither its provider nor its IMAP server. Fill in the form.", domain=domain)
        )
    how = _(
        "The IMAP server is {host}. It names no provider of OAuth 2.0: the mailbox signs in with a password.",
        host=imap.host,
    )
    return Proposal(address, _TYPES[imap.security], imap.host, imap.port, None, None, (how,))
