"""Mail accounts and destinations, under Znuny's labels."""

from typing import Any

from wtforms import BooleanField, IntegerField, PasswordField, SelectField, StringField, SubmitField, TextAreaField
from wtforms.validators import InputRequired, Length, NumberRange, Optional

from portal.core.encryption import Secret
from portal.incoming import destinations
from portal.incoming.mail_accounts import Fields
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
from portal.web.forms import Form, choices, chosen, row_id, text

_REQUIRED = InputRequired("This field is required.")
_OFF = {"autocomplete": "off", "spellcheck": "false"}
_PASSWORD = "password"


class MailAccountForm(Form):
    name = StringField("Name", [_REQUIRED, Length(max=200)], render_kw={"autocomplete": "off"})
    type = SelectField("Type", choices=choices((kind.value, kind.value) for kind in AccountType))
    host = StringField(
        "Host",
        description="Empty: the one of the token's provider, outlook.office365.com or imap.gmail.com.",
        render_kw=_OFF,
    )
    port = IntegerField(
        "Port",
        [Optional(), NumberRange(1, 65535, "A port from 1 to 65535.")],
        description="Empty: the usual one of the type.",
    )
    login = StringField(
        "Username", [_REQUIRED], description="The mailbox to open, usually its address.", render_kw=_OFF
    )
    authentication = SelectField(
        "Authentication type", choices=choices([("oauth2_token", "OAuth2 token"), (_PASSWORD, "Password")])
    )
    token = SelectField("OAuth2 token configuration", description="For the authentication type OAuth2 token.")
    password = PasswordField("Password", render_kw={"autocomplete": "new-password"})
    folder = StringField(
        "IMAP folder", default="INBOX", description="POP3 has but one.", render_kw={**_OFF, "list": "folders"}
    )
    list_folders = SubmitField("List folders", render_kw={"class": "btn btn-quiet btn-sm", "formnovalidate": True})
    dispatching = SelectField(
        "Dispatching",
        default="",
        choices=choices(
            [("", "to the selected destination"), ("address", "by address, else to the selected destination")]
        ),
    )
    destination = SelectField("Destination", [_REQUIRED])
    after_fetch = SelectField(
        "After the fetch",
        choices=choices(
            [
                (AfterFetch.KEEP.value, "keep the message on the server"),
                (AfterFetch.SEEN.value, "keep it and mark it as read"),
                (AfterFetch.MOVE.value, "move it to a folder"),
                (AfterFetch.DELETE.value, "delete it from the server"),
            ]
        ),
    )
    move_to = StringField("Folder to move to", [Length(max=500)], description="Made if it is missing.", render_kw=_OFF)
    large_messages = SelectField(
        "Messages larger than PostMasterMaxEmailSize",
        default=LargeMessages.KEEP.value,
        choices=choices(
            [
                (LargeMessages.KEEP.value, "leave them on the server"),
                (LargeMessages.MOVE.value, "move them to a folder of the server"),
                (LargeMessages.HEADERS.value, "leave them, and deliver their headers with a note"),
            ]
        ),
    )
    move_large_to = StringField(
        "Folder for large messages", [Length(max=500)], description="Made if it is missing.", render_kw=_OFF
    )
    fetch_interval = IntegerField(
        "Seconds between two fetches", [Optional()], description="Empty: FetchInterval of the settings."
    )
    fetch_times = StringField(
        "Times of day",
        [Length(max=200)],
        description="For example 06:00, 18:30 (TimeZone of the settings): it is fetched then, and not by the interval.",
        render_kw=_OFF,
    )
    push = BooleanField(
        "Push",
        description="The server tells of new mail at once (IMAP IDLE); it is fetched at its other times all the same.",
    )
    ca = TextAreaField(
        "Private CA",
        description="Certificates in PEM form, trusted for this server beside the usual ones.",
        render_kw={**_OFF, "rows": 3},
    )
    fingerprint = StringField(
        "Pinned certificate",
        description="SHA-256 of the one certificate to accept, whoever signed it. Empty: any that verifies.",
        render_kw=_OFF,
    )
    trusted = BooleanField(
        "Trusted",
        description="Headers that command a ticket system (X-OTRS-*, X-Znuny-*) pass; else they are taken off.",
    )
    validity = SelectField("Validity", choices=choices((validity.value, validity.value) for validity in Validity))
    comment = StringField("Comment", [Length(max=250)])

    #: What the server has, once it was asked.
    folders: tuple[str, ...] = ()

    def offer(self, tokens: list[Token], destinations: list[Destination]) -> None:
        self.token.choices = choices([("", "–"), *((str(token.id), token.name) for token in tokens)])
        self.destination.choices = choices((str(row.id), row.name) for row in destinations)

    def show(self, account: MailAccount) -> None:
        """Start with what is stored; the password is never among it."""
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
        """A token must be chosen where one is to be used, whatever password there was before."""
        good = bool(super().validate(*args, **kwargs))
        if self.authentication.data != _PASSWORD and not self.token.data:
            self.token.errors = [*self.token.errors, "Choose a token."]
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
            destination=chosen(Destination, "destination", self.destination.data),
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

    def typed_password(self) -> Secret | None:
        """None when nothing was typed, or the account signs in by token."""
        typed = self.password.data if self.authentication.data == _PASSWORD else None
        return Secret(typed) if typed else None


class DestinationForm(Form):
    name = StringField("Name", [_REQUIRED, Length(max=200)], render_kw={"autocomplete": "off"})
    type = SelectField(
        "Type",
        choices=choices(
            [
                ("maildir", "Maildir"),
                ("lmtp", "LMTP (a mail store)"),
                ("smtp", "SMTP (sent on to an address)"),
                ("web-service", "Web service"),
                ("command", "Command"),
            ]
        ),
    )
    path = StringField(
        "Path", description="The full path of a Maildir, or of the unix socket of a mail store.", render_kw=_OFF
    )
    host = StringField("Host", description="Of a mail store that is reached over TCP.", render_kw=_OFF)
    port = IntegerField("Port", [Optional()])
    recipient = StringField(
        "Recipient", description="Whom the mail store delivers to, or where mail is sent on to.", render_kw=_OFF
    )
    outbound_profile = SelectField(
        "Outbound profile", description="What it is sent on through.", coerce=row_id, validate_choice=False
    )
    web_service = SelectField(
        "Web service", description="Called with each message.", coerce=row_id, validate_choice=False
    )
    command = StringField(
        "Command",
        description="Program and arguments; it gets the message on standard input. Only with PORTAL_ALLOW_COMMANDS=1.",
        render_kw=_OFF,
    )
    addresses = TextAreaField(
        "Addresses", description="Mail to these comes here when an account dispatches by address.", render_kw=_OFF
    )
    comment = StringField("Comment", [Length(max=250)])

    def offer(self, profiles: list[OutboundProfile], services: list[WebService]) -> None:
        self.outbound_profile.choices = choices([("", "–"), *((str(row.id), row.name) for row in profiles)])
        self.web_service.choices = choices([("", "–"), *((str(row.id), row.name) for row in services)])

    def show(self, row: Destination) -> None:
        self.outbound_profile.data = str(row.outbound_profile.id) if row.outbound_profile else ""
        self.web_service.data = str(row.web_service.id) if row.web_service else ""

    def entered(self) -> destinations.Fields:
        """Only what the chosen type has use for; the rest may have been typed for another."""
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
