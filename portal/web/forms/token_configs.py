"""Forms for token configurations, with Znuny's labels."""

from datetime import UTC, datetime

from flask_wtf.file import FileField
from wtforms import BooleanField, DateField, Field, PasswordField, SelectField, StringField
from wtforms.validators import InputRequired, Length, Optional

from portal.core.encryption import Secret
from portal.core.language import _
from portal.models import ClientAuth, ClientSecret, Flow, TokenConfig, Validity
from portal.providers import Template
from portal.tokens import service_account
from portal.tokens.config_fields import Fields, NewSecret, from_template
from portal.web.forms import Form, choices, text, words

_REQUIRED = InputRequired(_("This field is required."))
_OFF = {"autocomplete": "off", "spellcheck": "false"}
_TEXTS = ("name", "tenant", "client_id", "assertion_file", "app_object_id", "authorize_url", "token_url",
          "refresh_url", "device_url", "revocation_url", "scope", "authorize_parameters", "token_parameters", "issuer",
          "jwks_url", "userinfo_url")  # fmt: skip
_ENDPOINTS = ("authorize_url", "token_url", "refresh_url", "device_url", "revocation_url", "issuer", "jwks_url",
              "userinfo_url")  # fmt: skip
_ADVANCED = ("authorize_parameters", "token_parameters", "assertion_file", "app_object_id")
#: Not used by app-only access.
_FOR_SIGN_INS = ("authorize_url", "authorize_parameters", "refresh_url", "device_url", "issuer", "jwks_url",
                 "userinfo_url")  # fmt: skip
_OF_A_CLIENT = (
    "client_id",
    "client_auth",
    "assertion_file",
    "app_object_id",
    "client_secret",
    "secret_ends_on",
    "secret_life",
)
_OPTIONAL = _("Optional; identifies the mailbox that signed in.")
MAX_KEY_BYTES = 20_000
_MONTHS = (6, 12, 18, 24)


class TokenConfigForm(Form):
    name = StringField(_("Name"), [_REQUIRED, Length(max=250)], render_kw={"autocomplete": "off"})
    tenant = StringField(
        _("Tenant"), [Length(max=250)], description=_("Tenant ID or a domain of the organization."), render_kw=_OFF
    )
    client_id = StringField(_("Client ID"), [_REQUIRED, Length(max=500)], render_kw=_OFF)
    client_auth = SelectField(
        _("Client authentication"),
        choices=choices(
            [
                (ClientAuth.SECRET_POST.value, _("client secret in the request")),
                (ClientAuth.SECRET_BASIC.value, _("client secret by HTTP Basic")),
                (ClientAuth.PRIVATE_KEY_JWT.value, _("certificate (private_key_jwt)")),
                (ClientAuth.ASSERTION_FILE.value, _("assertion from a file (workload identity)")),
            ]
        ),
        default=ClientAuth.SECRET_POST.value,
    )
    assertion_file = StringField(
        _("Client assertion file"),
        [Length(max=500)],
        description=_("Path on the portal's host of a JWT that another program keeps fresh, for workload identity."),
        render_kw=_OFF,
    )
    app_object_id = StringField(
        _("Object ID of the app registration"),
        [Length(max=36)],
        description=_("With it, the portal renews its certificate at Microsoft 60 days before it expires."),
        render_kw=_OFF,
    )
    service_account_key = FileField(
        _("JSON key"),
        description=_("File that Google creates for the service account. Stored encrypted and never shown again."),
    )
    client_secret = PasswordField(_("Client secret"), render_kw={"autocomplete": "new-password"})
    secret_ends_on = DateField(
        _("Client secret expires on"),
        [Optional()],
        description=_("Providers do not report this date; enter it here. A warning is shown from 30 days before."),
    )
    secret_life = SelectField(
        _("or valid for"),
        choices=choices(
            [("", "–"), *((str(months), _("{months} months from today", months=months)) for months in _MONTHS)]
        ),
        default="",
    )
    authorize_url = StringField(_("URL for authorization code"), render_kw=_OFF)
    token_url = StringField(_("URL for token by authorization code"), [_REQUIRED], render_kw=_OFF)
    refresh_url = StringField(_("URL for token by refresh token"), render_kw=_OFF)
    device_url = StringField(_("URL for device code"), render_kw=_OFF)
    revocation_url = StringField(_("URL for revocation"), render_kw=_OFF)
    scope = StringField(
        _("Scope"),
        description=_("A changed scope applies to each mailbox at its next sign-in; until then, it keeps the old one."),
        render_kw=_OFF,
    )
    authorize_parameters = StringField(
        _("Parameters of the authorization request"),
        description=_("For example prompt=consent&hd=example.com. Sent in addition to those of the flow."),
        render_kw=_OFF,
    )
    token_parameters = StringField(
        _("Parameters of the token requests"),
        description=_("For example resource=https://mail.example.com."),
        render_kw=_OFF,
    )
    issuer = StringField(_("Issuer"), description=_OPTIONAL, render_kw=_OFF)
    jwks_url = StringField(_("URL for signing keys"), description=_OPTIONAL, render_kw=_OFF)
    userinfo_url = StringField(
        _("URL for user information"), description=_("Used if there is no URL for signing keys."), render_kw=_OFF
    )
    notify_expired_token = BooleanField(_("Expired token"))
    notify_expired_refresh_token = BooleanField(_("Expired refresh token"))
    in_testing = BooleanField(
        _("The consent screen is in Testing"), description=_("Google ends such sign-ins after 7 days.")
    )
    validity = SelectField(_("Validity"), choices=words(Validity))

    #: The uploaded key, which can be read only once.
    _key_text: str | None = None

    @property
    def has_endpoint_errors(self) -> bool:
        """Whether an endpoint was refused, so that the fields of the endpoints must be shown."""
        return any(field.errors for field in self.endpoints())

    def endpoints(self) -> list[Field]:
        """The fields of the endpoints that the template and its flow use."""
        return [self[name] for name in _ENDPOINTS if name in self]

    def advanced(self) -> list[Field]:
        """The fields that most configurations leave empty."""
        return [self[name] for name in _ADVANCED if name in self]

    def fit(self, template: Template, flow: Flow) -> None:
        """Remove the fields that the template and its flow do not use."""
        if template.key != "google":
            del self.in_testing
        if not template.graph_host and flow is not Flow.JWT_BEARER:
            del self.app_object_id
        if flow is Flow.JWT_BEARER:
            # The key contains the client ID, and proves itself.
            for name in _OF_A_CLIENT:
                delattr(self, name)
        else:
            del self.service_account_key
        if not flow.has_sign_in:
            by = _("service account") if flow is Flow.JWT_BEARER else _("client credentials")
            self.token_url.label.text = _("URL for token by {by}", by=by)
            self.scope.description = ""
            for name in _FOR_SIGN_INS:
                delattr(self, name)
            del self.notify_expired_refresh_token

    def offer(self, template: Template) -> None:
        """Fill the form from the template; the admin chooses the name."""
        preset = from_template(template, name="", client_id="", tenant="{tenant}" if template.tenant_editable else "")
        for name, value in vars(preset).items():
            if name in self and name not in ("name", "client_id", "tenant", "validity", "client_auth"):
                self[name].data = value

    def fill(self, found: dict[str, str]) -> None:
        """Fill the endpoint fields with discovered URLs."""
        for name, value in found.items():
            if name in self:
                self[name].data = value

    def show(self, config: TokenConfig) -> None:
        """Fill the form from the row, except the client secret."""
        for name in Fields.__dataclass_fields__:
            if name in self:
                self[name].data = getattr(config, name)
        secret = config.client_secret
        if secret and secret.ends_at:
            self.secret_ends_on.data = secret.ends_at.date()

    def entered(self, kept: Fields | TokenConfig) -> Fields:
        """The entered values; fields not shown keep the values of ``kept``."""
        typed = {name: text(self[name].data) if name in self else getattr(kept, name) for name in _TEXTS}
        if key := self._uploaded_key():
            typed["client_id"] = key[0]
        return Fields(
            **typed,
            client_auth=ClientAuth(self.client_auth.data) if "client_auth" in self else kept.client_auth,
            validity=Validity(self.validity.data),
            notify_expired_token=self.notify_expired_token.data,
            notify_expired_refresh_token=self._ticked("notify_expired_refresh_token", kept),
            in_testing=self._ticked("in_testing", kept),
        )

    def _uploaded_key(self) -> tuple[str, Secret] | None:
        """The address and the key of the uploaded service account; None: no file. Raises Invalid for another file."""
        uploaded = self.service_account_key.data if "service_account_key" in self else None
        if not uploaded:
            return None
        if self._key_text is None:
            self._key_text = uploaded.read(MAX_KEY_BYTES).decode("utf-8", "replace")
        return service_account.read_key(self._key_text)

    def _ticked(self, name: str, kept: Fields | TokenConfig) -> bool:
        return bool(self[name].data if name in self else getattr(kept, name))

    def secret(self, now: datetime, used: ClientSecret | None) -> NewSecret:
        """The entered secret; its value is None if the field is empty, which keeps the stored secret.

        A new secret does not inherit the expiry date of the stored one.
        """
        if "client_secret" not in self:
            key = self._uploaded_key()
            return NewSecret(key[1] if key else None, used.ends_at if used else None)
        typed, day = text(self.client_secret.data), self.secret_ends_on.data
        ends_at = datetime(day.year, day.month, day.day, tzinfo=UTC) if day else None
        if typed and used and used.ends_at and day == used.ends_at.date():
            ends_at = None
        if self.secret_life.data:
            ends_at = months_later(now, int(self.secret_life.data))
        return NewSecret(Secret(typed) if typed else None, ends_at)


def months_later(now: datetime, months: int) -> datetime:
    """Midnight of the same day in a later month, or of that month's last day if it is shorter."""
    now = now.replace(hour=0, minute=0, second=0, microsecond=0)
    year, month = divmod(now.year * 12 + now.month - 1 + months, 12)
    for day in range(now.day, 27, -1):
        try:
            return now.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    return now.replace(year=year, month=month + 1)


class CertificateForm(Form):
    pem = FileField(
        _("Certificate and private key"), description=_("One PEM file with both; the key must not have a passphrase.")
    )


class ImportForm(Form):
    file = FileField(_("File"), [InputRequired(_("Choose a file."))])
    passphrase = PasswordField(
        _("Passphrase"), description=_("For a file with encrypted client secrets."), render_kw={"autocomplete": "off"}
    )
    overwrite = BooleanField(_("Overwrite existing"))


class ExportForm(Form):
    name = SelectField(_("Token configuration"))
    secrets = BooleanField(_("Include client secrets unencrypted"))
    passphrase = PasswordField(
        _("Passphrase"),
        description=_("With a passphrase, the file includes the client secrets, encrypted."),
        render_kw={"autocomplete": "new-password"},
    )

    def offer(self, names: list[str]) -> None:
        self.name.choices = choices([("", _("all")), *((name, name) for name in names)])
