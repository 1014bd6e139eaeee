"""The rows, one file a word."""

from portal.models.backlog import Backlog
from portal.models.base import HOST, Leased, Row, text_problems, tuples
from portal.models.destination import Destination, DestinationType
from portal.models.event import Event
from portal.models.heartbeat import Heartbeat
from portal.models.mail_account import (
    AccountType,
    AfterFetch,
    LargeMessages,
    MailAccount,
    Message,
    MessageState,
    Run,
    RunLine,
    RunOutcome,
)
from portal.models.provider_host import ProviderHost
from portal.models.refresh_day import RefreshDay
from portal.models.setting import Setting
from portal.models.sign_in import DeviceSignIn, ImportDraft, OwnerLink, SignIn
from portal.models.token import Token
from portal.models.token_config import ClientAuth, ClientSecret, Flow, TokenConfig, Validity
from portal.models.user import LoginFailures, LoginSession, Role, SetupLink, User

__all__ = [
    "HOST",
    "AccountType",
    "AfterFetch",
    "Backlog",
    "ClientAuth",
    "ClientSecret",
    "Destination",
    "DestinationType",
    "DeviceSignIn",
    "Event",
    "Flow",
    "Heartbeat",
    "ImportDraft",
    "LargeMessages",
    "Leased",
    "LoginFailures",
    "LoginSession",
    "MailAccount",
    "Message",
    "MessageState",
    "OwnerLink",
    "ProviderHost",
    "RefreshDay",
    "Role",
    "Row",
    "Run",
    "RunLine",
    "RunOutcome",
    "Setting",
    "SetupLink",
    "SignIn",
    "Token",
    "TokenConfig",
    "User",
    "Validity",
    "text_problems",
    "tuples",
]
