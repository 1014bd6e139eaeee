"""Responses of mail servers, verbatim where documented, and the cause of each."""

from typing import NamedTuple

from tests.fakes.scripted_mail import Script


class Heard(NamedTuple):
    cause: str
    script: Script


IMAP = [
    Heard("imap-sign-in-refused-by-microsoft", {"AUTHENTICATE": "NO AUTHENTICATE failed."}),
    Heard("mailbox-not-connected", {"LIST": "BAD User is authenticated but not connected.", "SELECT": "BAD User is authenticated but not connected."}),
    Heard("gmail-refuses-token", {"AUTHENTICATE": "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)"}),
    Heard("sign-in-refused", {"AUTHENTICATE": "NO [AUTHENTICATIONFAILED] Authentication failed."}),
    Heard("too-many-connections", {"AUTHENTICATE": "NO [ALERT] Too many simultaneous connections. (Failure)"}),
    Heard("server-throttles", {"LIST": "BAD Request is throttled. Suggested Backoff Time: 9000 milliseconds", "SELECT": "BAD Request is throttled. Suggested Backoff Time: 9000 milliseconds"}),
    Heard("token-ended-in-session", {"LIST": "* BYE Session invalidated - AccessTokenExpired", "SELECT": "* BYE Session invalidated - AccessTokenExpired"}),
    Heard("gmail-imap-disabled", {"AUTHENTICATE": "NO [ALERT] Your account is not enabled for IMAP use. Please visit your Gmail settings page and enable your account for IMAP access. (Failure)"}),
    Heard("folder-missing", {"LIST": "NO [NONEXISTENT] Unknown Mailbox: Tickets", "SELECT": "NO [NONEXISTENT] Unknown Mailbox: Tickets"}),
    Heard("server-says-unavailable", {"LIST": "NO [UNAVAILABLE] Server Unavailable. 15", "SELECT": "NO [UNAVAILABLE] Server Unavailable. 15"}),
    Heard("web-login-required", {"AUTHENTICATE": "NO [WEBALERT https://accounts.google.com/signin/continue?sarp=1] Web login required."}),
    Heard("web-login-required", {"AUTHENTICATE": "NO [ALERT] Please log in via your web browser: https://support.google.com/mail/accounts/answer/78754 (Failure)"}),
    Heard("service-account-signs-in-itself", {"AUTHENTICATE": "BAD Line too long"}),
    Heard("connection-reset", {"AUTHENTICATE": None}),
]  # fmt: skip

POP3 = [
    Heard("pop3-sign-in-refused-by-microsoft", {"AUTH": "-ERR Authentication failure: unknown user name or bad password."}),
    Heard("mailbox-not-connected", {"STAT": "-ERR User is authenticated but not connected."}),
    Heard("mailbox-in-use", {"STAT": "-ERR [IN-USE] Unable to lock maildrop: Mailbox is locked by POP server"}),
    Heard("login-delay", {"AUTH": "-ERR [LOGIN-DELAY] minimum time between mail checks not yet passed"}),
]  # fmt: skip

SMTP = [
    Heard("smtp-auth-disabled", {"AUTH": "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information."}),
    Heard("smtp-sign-in-refused-by-microsoft", {"AUTH": "535 5.7.3 Authentication unsuccessful [FR0P281CA0001.DEUP281.PROD.OUTLOOK.COM]"}),
    Heard("gmail-refuses-token", {"AUTH": "535-5.7.8 Username and Password not accepted. For more information, go to\r\n535 5.7.8  https://support.google.com/mail/?p=BadCredentials"}),
    Heard("smtp-token-too-short", {"AUTH": "501 5.5.127 Invalid XOAUTH2 auth data - Token will expire soon"}),
    Heard("too-many-connections", {"AUTH": "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information."}),
    Heard("server-throttles", {"AUTH": "454 4.7.0 Too many login attempts, please try again later."}),
    Heard("smtp-blocked-by-security-defaults", {"AUTH": "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy. Contact your administrator. [AM0P.EURPRD04.PROD.OUTLOOK.COM]"}),
    Heard("basic-auth-ended", {"AUTH": "550 5.7.30 Basic authentication is not supported for Client Submission."}),
    Heard("sign-in-wanted", {"MAIL": "530 5.7.57 Client not authenticated to send mail."}),
]  # fmt: skip


class Said(NamedTuple):
    """An error response of Microsoft Graph; ``at``: a part of the request that gets it."""

    cause: str
    status: int
    code: str
    message: str
    at: str = "/users/"


#: https://learn.microsoft.com/graph/errors, and texts quoted in Microsoft's forums.
GRAPH = [
    Said("graph-token-refused", 401, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience."),
    Said("graph-token-refused", 401, "InvalidAuthenticationToken", "CompactToken parsing failed with error code: 80049217"),
    Said("graph-token-refused", 401, "OrganizationFromTenantGuidNotFound", "The tenant for tenant guid '0' does not exist."),
    Said("graph-access-denied", 403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."),
    Said("graph-access-policy", 403, "ErrorAccessDenied", "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings."),
    Said("graph-mailbox-unknown", 404, "ErrorInvalidUser", "The requested user 'helpdesk@sandbox.test' is invalid."),
    Said("graph-mailbox-unknown", 404, "Request_ResourceNotFound", "Resource 'helpdesk@sandbox.test' does not exist or one of its queried reference-property objects are not present."),
    Said("graph-no-mailbox", 404, "MailboxNotEnabledForRESTAPI", "The mailbox is either inactive, soft-deleted, or is hosted on-premise."),
    Said("graph-folder-missing", 404, "ErrorItemNotFound", "The specified object was not found in the store.", "mailFolders/inbox"),
    Said("graph-throttled", 429, "ApplicationThrottled", "Application is over its MailboxConcurrency limit."),
    Said("graph-throttled", 429, "TooManyRequests", "Too many requests."),
    Said("graph-busy", 503, "MailboxInfoStale", "Target resource is currently on backend 'Unknown'"),
    Said("graph-busy", 503, "ErrorMailboxMoveInProgress", "The mailbox is being moved."),
    Said("graph-busy", 500, "ErrorInternalServerError", "An internal server error occurred. The operation failed."),
    Said("graph-quota", 403, "ErrorQuotaExceeded", "Mailbox has exceeded maximum mailbox size."),
]  # fmt: skip

GRAPH_SEND = [
    Said("graph-sending-denied", 403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."),
    Said("graph-access-policy", 403, "ErrorAccessDenied", "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings."),
    Said("graph-mailbox-unknown", 404, "ErrorInvalidUser", "The requested user 'helpdesk@sandbox.test' is invalid."),
    Said("graph-throttled", 429, "ApplicationThrottled", "Application is over its MailboxConcurrency limit."),
]  # fmt: skip
