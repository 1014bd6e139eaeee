"""Forms for mail accounts and destinations, with Znuny's labels."""

from typing import Any

from wtforms import BooleanField, IntegerField, PasswordField, SelectField, StringField, SubmitField, TextAreaField
from wtforms.validators import InputRequired, Length, NumberRange, Optional

from portal.core.encryption import Secret
from portal.core.language import _
from portal.incoming import destinations
from portal.incoming.mail_accounts import Fields
from portal.incoming.proposals import Proposal
from portal.models import (
    AccountType,
    AfterFetch,
    Destination,
    DestinationType,
    LargeMessages,
    MailAccount,
    OutboundProfile,
    Token,
    Validity,
    WebService,
)
from portal.web.forms import Form, choices, chosen, row_id, text, words

_REQUIRED = InputRequired(_("This field is required."))
_OFF = {"autocomplete": "off", "spellcheck": "false"}
_PASSWORD = "password"


class MailAccountForm(Form):
    name = StringField(_("Name"), [_REQUIRED, Length(max=200)], render_kw={"autocomplete": "off"})
    type = SelectField(_("Type"), choices=choices((kind.value, kind.value) for kind in AccountType))
    host = StringField(
        _("Host"),
        description=_("Default: the provider's host, for example outlook.office365.com or imap.gmail.com."),
        render_kw=_OFF,
    )
    port = IntegerField(
        _("Port"),
        [Optional(), NumberRange(1, 65535, _("Enter a port from 1 to 65535."))],
        description=_("Default: the standard port of the type."),
    )
    login = StringField(
        _("Username"), [_REQUIRED], description=_("The mailbox to open, usually its address."), render_kw=_OFF
    )
    authentication = SelectField(
        _("Authentication type"), choices=choices([("oauth2_token", _("OAuth2 token")), (_PASSWORD, _("Password"))])
    )
    token = SelectField(_("OAuth2 token configuration"), description=_("For the authentication type OAuth2 token."))
    password = PasswordField(_("Password"), render_kw={"autocomplete": "new-password"})
    folder = StringField(
        _("IMAP folder"),
        default="INBOX",
        description=_("Not used with POP3. Microsoft Graph: Inbox/Support is a folder in a folder."),
        render_kw={**_OFF, "list": "folders"},
    )
    list_folders = SubmitField(_("List folders"), render_kw={"class": "btn btn-quiet btn-sm", "formnovalidate": True})
    test = SubmitField(_("Test connection"), render_kw={"class": "btn btn-quiet", "formnovalidate": True})
    dispatching = SelectField(
        _("Dispatching"),
        default="",
        choices=choices(
            [("", _("to the selected destination")), ("address", _("by address, else to the selected destination"))]
        ),
    )
    destination = SelectField(_("Destination"))
    new_maildir = StringField(
        _("or a new Maildir folder"),
        [Length(max=500)],
        description=_("Full path. Creates a destination with the name of the mail account."),
        render_kw=_OFF,
    )
    after_fetch = SelectField(
        _("After the fetch"),
        choices=choices(
            [
                (AfterFetch.KEEP.value, _("keep the message on the server")),
                (AfterFetch.SEEN.value, _("keep it and mark it as read")),
                (AfterFetch.MOVE.value, _("move it to a folder")),
                (AfterFetch.DELETE.value, _("delete it from the server")),
            ]
        ),
    )
    move_to = StringField(
        _("Folder to move to"), [Length(max=500)], description=_("Created if missing."), render_kw=_OFF
    )
    large_messages = SelectField(
        _("Messages larger than PostMasterMaxEmailSize"),
        default=LargeMessages.KEEP.value,
        choices=choices(
            [
                (LargeMessages.KEEP.value, _("leave them on the server")),
                (LargeMessages.MOVE.value, _("move them to a folder on the server")),
                (LargeMessages.HEADERS.value, _("leave them on the server and deliver their headers with a note")),
            ]
        ),
    )
    move_large_to = StringField(
        _("Folder for large messages"), [Length(max=500)], description=_("Created if missing."), render_kw=_OFF
    )
    fetch_interval = IntegerField(
        _("Seconds between two fetches"), [Optional()], description=_("Default: the setting FetchInterval.")
    )
    fetch_times = StringField(
        _("Times of day"),
        [Length(max=200)],
        description=_("Fetches at these times instead of the interval, for example 06:00, 18:30 (setting TimeZone)."),
        render_kw=_OFF,
    )
    push = BooleanField(
        _("Push"),
        description=_("Receive immediately (IMAP IDLE), beside the scheduled fetches."),
    )
    ca = TextAreaField(
        _("Private CA"),
        description=_("CA certificates in PEM format, trusted for this server in addition to the standard CAs."),
        render_kw={**_OFF, "rows": 3},
    )
    fingerprint = StringField(
        _("Pinned certificate"),
        description=_("SHA-256 fingerprint. Only this certificate is accepted. Empty: normal verification."),
        render_kw=_OFF,
    )
    trusted = BooleanField(
        _("Trusted"),
        description=_(
            "Keep X-OTRS-* and X-Znuny-* headers, which control a ticket system. Otherwise they are removed."
        ),
    )
    validity = SelectField(_("Validity"), choices=words(Validity))
    comment = StringField(_("Comment"), [Length(max=250)])

    #: Folders on the server; empty until they have been listed.
    folders: tuple[str, ...] = ()

    def offer(self, tokens: list[Token], destinations: list[Destination]) -> None:
        self.token.choices = choices([("", "–"), *((str(token.id), token.name) for token in tokens)])
        rows = [(str(row.id), row.name) for row in destinations]
        self.destination.choices = choices(rows or [("", "–")])

    def propose(self, found: Proposal) -> None:
        """Fill the form with what was found for an address."""
        self.name.data = self.login.data = found.address
        self.type.data, self.host.data, self.port.data = found.type.value, found.host, found.port or None
        self.authentication.data = "oauth2_token" if found.template else _PASSWORD
        self.token.data = str(found.token.id) if found.token else ""

    def show(self, account: MailAccount) -> None:
        """Fill the form from the row, except the password."""
        for name in (
            "name",
            "type",
            "host",
            "port",
            "login",
            "folder",
            "after_fetch",
            "move_to",
            "large_messages",
            "move_large_to",
            "fetch_interval",
            "fetch_times",
            "push",
            "ca",
            "fingerprint",
            "trusted",
            "validity",
            "comment",
        ):
            self[name].data = getattr(account, name)
        self.authentication.data = "oauth2_token" if account.token else _PASSWORD
        self.token.data = str(account.token.id) if account.token else ""
        self.destination.data = str(account.destination.id)
        self.dispatching.data = "address" if account.dispatch_by_address else ""

    def validate(self, *args: Any, **kwargs: Any) -> bool:
        """Require a token for the authentication type OAuth2 token, even if a password is stored."""
        good = bool(super().validate(*args, **kwargs))
        if self.authentication.data != _PASSWORD and not self.token.data:
            self.token.errors = [*self.token.errors, _("Choose a token.")]
            return False
        return good

    def entered(self) -> Fields:
        by_token = self.authentication.data != _PASSWORD
        return Fields(
            name=text(self.name.data),
            type=AccountType(self.type.data),
            host=text(self.host.data),
            port=self.port.data or 0,
            login=text(self.login.data),
            token=chosen(Token, "token", self.token.data) if by_token else None,
            destination=self._destination(),
            folder=text(self.folder.data) or "INBOX",
            dispatch_by_address=self.dispatching.data == "address",
            after_fetch=AfterFetch(self.after_fetch.data),
            move_to=text(self.move_to.data),
            large_messages=LargeMessages(self.large_messages.data),
            move_large_to=text(self.move_large_to.data),
            ca=(self.ca.data or "").replace("\r\n", "\n"),
            fingerprint=text(self.fingerprint.data),
            fetch_interval=self.fetch_interval.data,
            fetch_times=text(self.fetch_times.data),
            push=bool(self.push.data),
            trusted=bool(self.trusted.data),
            validity=Validity(self.validity.data),
            comment=text(self.comment.data),
        )

    def _destination(self) -> Destination:
        """The chosen destination, or one that does not exist yet."""
        if folder := text(self.new_maildir.data) if "new_maildir" in self else "":
            return Destination(name=text(self.name.data), type=DestinationType.MAILDIR, path=folder)
        return chosen(Destination, "destination", self.destination.data)

    def typed_password(self) -> Secret | None:
        """The entered password; None if the field is empty or the account signs in by token."""
        typed = self.password.data if self.authentication.data == _PASSWORD else None
        return Secret(typed) if typed else None


class DestinationForm(Form):
    name = StringField(_("Name"), [_REQUIRED, Length(max=200)], render_kw={"autocomplete": "off"})
    type = SelectField(
        _("Type"),
        choices=choices(
            [
                ("maildir", _("Maildir")),
                ("lmtp", _("LMTP (mail store)")),
                ("smtp", _("SMTP (forward to an address)")),
                ("web-service", _("Web service")),
                ("command", _("Command")),
            ]
        ),
    )
    path = StringField(
        _("Path"), description=_("Absolute path of the Maildir, or of the mail store's unix socket."), render_kw=_OFF
    )
    host = StringField(_("Host"), description=_("Only for a mail store reached over TCP."), render_kw=_OFF)
    port = IntegerField(_("Port"), [Optional()])
    recipient = StringField(
        _("Recipient"), description=_("Recipient in the mail store, or address to forward mail to."), render_kw=_OFF
    )
    outbound_profile = SelectField(
        _("Outbound profile"), description=_("Profile that forwards the mail."), coerce=row_id, validate_choice=False
    )
    web_service = SelectField(
        _("Web service"), description=_("Called with each message."), coerce=row_id, validate_choice=False
    )
    command = StringField(
        _("Command"),
        description=_(
            "Program and arguments; reads the message from standard input. Requires PORTAL_ALLOW_COMMANDS=1."
        ),
        render_kw=_OFF,
    )
    addresses = TextAreaField(
        _("Addresses"),
        description=_("Mail to these addresses is delivered here if the account dispatches by address."),
        render_kw=_OFF,
    )
    comment = StringField(_("Comment"), [Length(max=250)])

    def offer(self, profiles: list[OutboundProfile], services: list[WebService]) -> None:
        self.outbound_profile.choices = choices([("", "–"), *((str(row.id), row.name) for row in profiles)])
        self.web_service.choices = choices([("", "–"), *((str(row.id), row.name) for row in services)])

    def show(self, row: Destination) -> None:
        self.outbound_profile.data = str(row.outbound_profile.id) if row.outbound_profile else ""
        self.web_service.data = str(row.web_service.id) if row.web_service else ""

    def entered(self) -> destinations.Fields:
        """The fields that the chosen type uses; values entered for other types are ignored."""
        kind = DestinationType(self.type.data)
        typed = {name: text(self[name].data) for name in ("name", "addresses", "comment", *_USED_BY[kind])}
        entered = destinations.Fields(typed.pop("name"), kind)
        for name, value in typed.items():
            setattr(entered, name, value)
        if kind is DestinationType.LMTP:
            entered.port = self.port.data
        if kind is DestinationType.SMTP and self.outbound_profile.data:
            entered.outbound_profile = chosen(OutboundProfile, "outbound_profile", self.outbound_profile.data)
        if kind is DestinationType.WEB_SERVICE and self.web_service.data:
            entered.web_service = chosen(WebService, "web_service", self.web_service.data)
        return entered


_USED_BY: dict[DestinationType, tuple[str, ...]] = {
    DestinationType.MAILDIR: ("path",),
    DestinationType.LMTP: ("path", "host", "recipient"),
    DestinationType.SMTP: ("recipient",),
    DestinationType.WEB_SERVICE: (),
    DestinationType.COMMAND: ("command",),
}
