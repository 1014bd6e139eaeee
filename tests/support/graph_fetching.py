"""Mail accounts at the fake Graph server, and what a fetch delivers from them."""

from portal.models import AccountType, AfterFetch, Destination, MailAccount
from tests.builders import make_account, make_token
from tests.fakes.graph_server import GraphServer
from tests.support import fetching


def graph_account(
    server: GraphServer, inbox: Destination, after_fetch: AfterFetch, folder: str = "Inbox"
) -> MailAccount:
    kind = AccountType.MSGRAPH
    return make_account(inbox, make_token(), type=kind, port=server.port, folder=folder, after_fetch=after_fetch)


def kept(server: GraphServer, inbox: Destination, folder: str = "Inbox") -> MailAccount:
    return graph_account(server, inbox, AfterFetch.KEEP, folder)


def delivered(inbox: Destination) -> list[bytes]:
    """The delivered messages without the header field that differs between two reads."""
    return [content.partition(b"\r\n")[2] for content in fetching.delivered(inbox)]


def stored(account: MailAccount) -> MailAccount:
    found: MailAccount = MailAccount.get_by_id(account.id)
    return found
