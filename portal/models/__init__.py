"""The database models, one file per subject."""

from portal.models.api_key import ApiKey, ApiKeyConfig, UsageCount
from portal.models.backlog import Backlog
from portal.models.base import HOST, Leased, Row, text_problems, tuples
from portal.models.certificate_renewal import CertificateRenewal
from portal.models.destination import Destination, DestinationType
from portal.models.event import Event
from portal.models.export_request import ExportRequest
from portal.models.failing import Failing
from portal.models.heartbeat import Heartbeat
from portal.models.identity_provider import IdentityProvider
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
from portal.models.metric_counter import MetricCounter
from portal.models.notice import Notice
from portal.models.notice_channel import NoticeChannel, NoticeDelivery
from portal.models.outbound import (
    OutboundMessage,
    OutboundPart,
    OutboundProfile,
    OutboundRecipient,
    OutboundState,
    OutboundType,
)
from portal.models.provider_host import ProviderHost
from portal.models.refresh_day import RefreshDay
from portal.models.second_factor import Passkey, RecoveryCode
from portal.models.setting import Setting
from portal.models.sign_in import DeviceSignIn, ImportDraft, OwnerLink, SignIn
from portal.models.token import Token
from portal.models.token_config import ClientAuth, ClientSecret, Flow, TokenConfig, Validity
from portal.models.unmatched_response import UnmatchedResponse
from portal.models.user import LoginFailures, LoginSession, Role, SetupLink, User
from portal.models.user_config import UserConfig
from portal.models.web_service import CallState, ServiceAuth, WebService, WebServiceCall

__all__ = [
    "HOST",
    "AccountType",
    "AfterFetch",
    "ApiKey",
    "ApiKeyConfig",
    "Backlog",
    "CallState",
    "CertificateRenewal",
    "ClientAuth",
    "ClientSecret",
    "Destination",
    "DestinationType",
    "DeviceSignIn",
    "Event",
    "ExportRequest",
    "Failing",
    "Flow",
    "Heartbeat",
    "IdentityProvider",
    "ImportDraft",
    "LargeMessages",
    "Leased",
    "LoginFailures",
    "LoginSession",
    "MailAccount",
    "Message",
    "MessageState",
    "MetricCounter",
    "Notice",
    "NoticeChannel",
    "NoticeDelivery",
    "OutboundMessage",
    "OutboundPart",
    "OutboundProfile",
    "OutboundRecipient",
    "OutboundState",
    "OutboundType",
    "OwnerLink",
    "Passkey",
    "ProviderHost",
    "RecoveryCode",
    "RefreshDay",
    "Role",
    "Row",
    "Run",
    "RunLine",
    "RunOutcome",
    "ServiceAuth",
    "Setting",
    "SetupLink",
    "SignIn",
    "Token",
    "TokenConfig",
    "UnmatchedResponse",
    "UsageCount",
    "User",
    "UserConfig",
    "Validity",
    "WebService",
    "WebServiceCall",
    "text_problems",
    "tuples",
]
