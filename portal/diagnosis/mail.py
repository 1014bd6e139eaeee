"""Diagnosis checks of mail accounts and outbound profiles."""

from contextlib import ExitStack
from dataclasses import replace

from portal.causes import Where
from portal.core.clock import Clock
from portal.core.errors import Refused, Unavailable
from portal.core.language import _, _n
from portal.core.text import split_list
from portal.diagnosis import network, tokens
from portal.diagnosis.checks import Checks
from portal.incoming import mailbox_connection
from portal.models import MailAccount, OutboundProfile, Token
from portal.outgoing import graph_sending, outbound_profiles, profile_connection
from portal.protocols import graph, graph_folders, imap, imap_session, pop3_session, smtp_session
from portal.protocols.graph_mailbox import GraphMailbox
from portal.protocols.sasl import Credential
from portal.protocols.server import Secured, Security, Server

#: Timeout in seconds; short, because a user waits for the page.
_SILENCE = 20.0


def of_account(ladder: Checks, account: MailAccount, actor: str, clock: Clock) -> None:
    ladder.facts |= {"mailbox": account.login, "host": account.host}
    ladder.by_password = account.token is None
    at = replace(mailbox_connection.server(account), silence=_SILENCE)
    where = mailbox_connection.where(account)
    if account.type.is_graph:
        network.to_web_server(ladder, f"https://{at.host}:{at.port}/", where, at.ca)
    else:
        network.to_mail_server(ladder, at, where)
    climb = {Where.IMAP: _climb_imap, Where.POP3: _climb_pop3, Where.GRAPH: _climb_graph}[where]
    with ExitStack() as opened:
        climb(ladder, account, at, opened, actor, clock)


def _climb_imap(ladder: Checks, account: MailAccount, at: Server, opened: ExitStack, actor: str, clock: Clock) -> None:
    with ladder.step(_("IMAP protocol"), Where.IMAP) as step:
        client = opened.enter_context(imap_session.opened(at, ladder.dialogue))
        offered = imap_session.mechanisms(client)
        _tell_starttls(ladder, at, client.connection)
        step.found = _("offers {names}", names=", ".join(offered) or "-")
    credential = _credential(ladder, account, offered, Where.IMAP, actor, clock)
    with ladder.step(_("Sign-in"), Where.IMAP) as step:
        imap_session.sign_in(client, at, credential)
        step.found = _("as {login}", login=credential.login)
    with ladder.step(_("Command after sign-in"), Where.IMAP) as step:
        client.allow()
        with imap_session.translated_errors(at.host):
            client.folder_exists(account.folder)
        step.found = "LIST"
    with ladder.step(_("IMAP folder"), Where.IMAP) as step:
        with imap_session.translated_errors(at.host):
            there = len(imap.ImapMailbox(client, account.folder).uids())
        step.found = _n("{folder}, {count:,} message", "{folder}, {count:,} messages", there, folder=account.folder)


def _climb_pop3(ladder: Checks, account: MailAccount, at: Server, opened: ExitStack, actor: str, clock: Clock) -> None:
    with ladder.step(_("POP3 protocol"), Where.POP3) as step:
        connection = opened.enter_context(pop3_session.opened(at, ladder.dialogue))
        with imap_session.translated_errors(at.host):
            offered = connection.capabilities().get("SASL", [])
        _tell_starttls(ladder, at, connection.socket)
        step.found = _("offers {names}", names=", ".join(offered) or "-")
    credential = _credential(ladder, account, offered, Where.POP3, actor, clock)
    with ladder.step(_("Sign-in"), Where.POP3) as step:
        pop3_session.sign_in(connection, at, credential)
        step.found = _("as {login}", login=credential.login)
    with ladder.step(_("Command after sign-in"), Where.POP3) as step, imap_session.translated_errors(at.host):
        step.found = f"STAT {connection.command('STAT').decode('ascii', 'replace').removeprefix('+OK').strip()}"


def _climb_graph(ladder: Checks, account: MailAccount, at: Server, opened: ExitStack, actor: str, clock: Clock) -> None:
    assert account.token is not None
    credential = _usable(ladder, account, account.token, Where.GRAPH, actor, clock)
    requests = opened.enter_context(graph.opened(at, credential))
    with ladder.step(_("Mailbox"), Where.GRAPH) as step:
        step.found = _(
            "{login}, {count:,} in its inbox", login=credential.login, count=graph_folders.count(requests, "inbox")
        )
    with ladder.step(_("Folder"), Where.GRAPH) as step:
        there = graph_folders.count(requests, account.folder)
        step.found = _n("{folder}, {count:,} message", "{folder}, {count:,} messages", there, folder=account.folder)
    with ladder.step(_("List of new messages"), Where.GRAPH) as step:
        GraphMailbox(requests, account.folder, account.delta_link)
        step.found = "delta"


def _credential(
    ladder: Checks, account: MailAccount | OutboundProfile, offered: list[str], where: Where, actor: str, clock: Clock
) -> Credential:
    """Return the credential to sign in with. Checks OAuth support of the server, and the token."""
    token: Token | None = account.token
    if token is None:
        return Credential(account.login, password=account.password)
    with ladder.step(_("OAuth 2.0 support"), where) as step:
        known = [name for name in ("XOAUTH2", "OAUTHBEARER") if name in offered]
        step.found = ", ".join(known)
        if not known and offered:
            raise Unavailable(_("advertises no OAuth 2.0, only {names}", names=", ".join(offered)))
        step.found = step.found or _("not advertised by the server; trying anyway")
    return _usable(ladder, account, token, where, actor, clock)


def _usable(
    ladder: Checks, account: MailAccount | OutboundProfile, token: Token, where: Where, actor: str, clock: Clock
) -> Credential:
    """Return the credential with a valid token. Checks validity and audience of the token."""
    life = mailbox_connection.TOKEN_MIN_LIFE if isinstance(account, MailAccount) else profile_connection.TOKEN_MIN_LIFE
    usable = tokens.fresh(ladder, token, min_life=life, actor=actor, clock=clock)
    tokens.fits(ladder, usable, where)
    return Credential(account.login, token=usable.access_token)


def _tell_starttls(ladder: Checks, at: Server, connection: object) -> None:
    """Record TLS details after STARTTLS; implicit TLS was checked before."""
    if at.security is Security.STARTTLS and isinstance(connection, Secured):
        with ladder.step("TLS", Where.IMAP) as step:
            network.tell_tls(ladder, step, connection)


def _sender_of(profile: OutboundProfile) -> str:
    """Return an address that the profile may send from; its login may not be an address."""
    known = [outbound_profiles.sender_address(profile), profile.login]
    domains = [one for one in split_list(profile.senders) if one.startswith("@")]
    known += [f"postmaster{one}" for one in domains]
    return next((one for one in known if "@" in one.strip("@")), "")


def of_profile(ladder: Checks, profile: OutboundProfile, actor: str, clock: Clock) -> None:
    sender = _sender_of(profile)
    ladder.by_password = profile.token is None
    ladder.facts |= {"mailbox": profile.login, "host": profile.host, "sender": sender}
    at = replace(profile_connection.server(profile), silence=min(float(profile.timeout), _SILENCE))
    if profile.type.is_graph:
        _climb_graph_sending(ladder, profile, at, sender, actor, clock)
        return
    network.to_mail_server(ladder, at, Where.SMTP)
    with ExitStack() as opened:
        with ladder.step(_("SMTP protocol"), Where.SMTP) as step:
            client = opened.enter_context(smtp_session.opened(at, ladder.dialogue.lines.append))
            _tell_starttls(ladder, at, client.connection)
            offered = smtp_session.mechanisms(client)
            step.found = f"offers {', '.join(offered) or 'no sign-in'}"
        if profile.token or profile.login:
            credential = _credential(ladder, profile, offered, Where.SMTP, actor, clock)
            with ladder.step(_("Sign-in"), Where.SMTP) as step:
                smtp_session.sign_in(client, at, credential)
                step.found = _("as {login}", login=credential.login)
        with ladder.step(_("Sender address"), Where.SMTP) as step:
            reply = smtp_session.try_sender(client, sender)
            step.found = f"MAIL FROM:<{sender}>"
            if not reply.is_good:
                raise Refused(_("{host} answered: {reply}", host=profile.host, reply=reply))


def _climb_graph_sending(
    ladder: Checks, profile: OutboundProfile, at: Server, sender: str, actor: str, clock: Clock
) -> None:
    assert profile.token is not None
    network.to_web_server(ladder, f"https://{at.host}:{at.port}/", Where.GRAPH_SEND, at.ca)
    credential = _usable(ladder, profile, profile.token, Where.GRAPH_SEND, actor, clock)
    with ladder.step(_("Permission to send"), Where.GRAPH_SEND) as step, graph.opened(at, credential) as requests:
        graph_sending.check_permission(requests, sender)
        step.found = _("as {login}", login=credential.login)
