"""Form for outbound profiles, with Znuny's and DigDash's labels."""

from wtforms import BooleanField, IntegerField, PasswordField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length, Optional

from portal.core.encryption import Secret
from portal.core.language import _
from portal.models import OutboundProfile, OutboundType, Token, Validity
from portal.outgoing.outbound_profiles import Fields
from portal.web.forms import Form, choices, chosen, text, words

_REQUIRED = InputRequired(_("This field is required."))
_OFF = {"autocomplete": "off", "spellcheck": "false"}
_TOKEN, _PASSWORD, _NONE = "oauth2_token", "password", "none"
_SAME = ("name", "type", "host", "port", "login", "senders", "fallback", "sends_as", "per_minute", "per_day",
         "connections", "timeout", "ca", "fingerprint", "validity", "comment")  # fmt: skip


class OutboundProfileForm(Form):
    name = StringField(_("Name"), [_REQUIRED, Length(max=200)], render_kw={"autocomplete": "off"})
    authentication = SelectField(
        _("Authentication type"),
        choices=choices([(_TOKEN, _("OAuth2 token")), (_PASSWORD, _("Password")), (_NONE, _("none (internal relay)"))]),
    )
    token = SelectField(_("OAuth2 token configuration"), description=_("For the authentication type OAuth2 token."))
    login = StringField(
        _("Username"), description=_("Account that signs in. Default: the token's owner."), render_kw=_OFF
    )
    password = PasswordField(_("Password"), render_kw={"autocomplete": "new-password"})
    host = StringField(
        _("Host"),
        description=_("Default: the provider's host, with its type, port and limits."),
        render_kw=_OFF,
    )
    type = SelectField(
        _("Type"),
        default=OutboundType.SMTPTLS.value,
        choices=choices(
            [
                (OutboundType.SMTPTLS.value, _("SMTPTLS (STARTTLS, port 587)")),
                (OutboundType.SMTPS.value, _("SMTPS (implicit TLS, port 465)")),
                (OutboundType.SMTP.value, _("SMTP (without TLS, port 25)")),
                (OutboundType.MSGRAPH.value, _("MSGraph (Microsoft Graph, port 443)")),
            ]
        ),
    )
    port = IntegerField(_("Port"), [Optional()], description=_("Default: the standard port of the type."))
    senders = TextAreaField(
        _("Senders"),
        description=_("Sender addresses, and domains such as @example.com, whose mail is sent through this profile."),
        render_kw={**_OFF, "rows": 2},
    )
    fallback = BooleanField(_("Fallback"), description=_("Sends the mail of senders that no other profile serves."))
    sends_as = StringField(
        _("Sends as"),
        description=_("Sender address for mail of other senders; replies go to the original sender. Empty: unchanged."),
        render_kw=_OFF,
    )
    per_minute = IntegerField(
        _("Messages per minute"), [Optional()], description=_("Empty: no limit. Microsoft allows 30.")
    )
    per_day = IntegerField(
        _("Recipients per day"), [Optional()], description=_("Empty: no limit. Microsoft allows 10,000.")
    )
    connections = IntegerField(_("Concurrent connections"), default=1, description=_("Microsoft allows 3."))
    timeout = IntegerField(_("Timeout"), default=60, description=_("Seconds to wait for a response from the server."))
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
    validity = SelectField(_("Validity"), choices=words(Validity))
    comment = StringField(_("Comment"), [Length(max=250)])

    def offer(self, tokens: list[Token]) -> None:
        self.token.choices = choices([("", "–"), *((str(token.id), token.name) for token in tokens)])

    def show(self, row: OutboundProfile) -> None:
        for name in _SAME:
            self[name].data = getattr(row, name)
        self.type.data, self.validity.data = row.type.value, row.validity.value
        self.authentication.data = _TOKEN if row.token else _PASSWORD if row.login else _NONE
        self.token.data = str(row.token.id) if row.token else ""

    def entered(self) -> Fields:
        by = self.authentication.data
        token = chosen(Token, "token", self.token.data) if by == _TOKEN else None
        login = text(self.login.data) or (token.owner or "" if token else "")
        return Fields(
            name=text(self.name.data),
            type=OutboundType(self.type.data),
            host=text(self.host.data),
            port=self.port.data or 0,
            login="" if by == _NONE else login,
            token=token,
            senders=text(self.senders.data),
            fallback=bool(self.fallback.data),
            sends_as=text(self.sends_as.data),
            per_minute=self.per_minute.data or None,
            per_day=self.per_day.data or None,
            connections=self.connections.data or 1,
            timeout=self.timeout.data or 60,
            ca=(self.ca.data or "").replace("\r\n", "\n"),
            fingerprint=text(self.fingerprint.data),
            validity=Validity(self.validity.data),
            comment=text(self.comment.data),
        )

    def typed_password(self) -> Secret | None:
        """The entered password; None if the field is empty or the profile does not sign in by password."""
        typed = self.password.data if self.authentication.data == _PASSWORD else None
        return Secret(typed) if typed else None


class TestMessageForm(Form):
    to = StringField(_("Recipient"), [_REQUIRED], render_kw={"autocomplete": "email"})
