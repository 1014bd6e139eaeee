"""Forms for web services: request, authentication and triggers."""

from wtforms import IntegerField, PasswordField, SelectField, SelectMultipleField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length
from wtforms.widgets import CheckboxInput, ListWidget

from portal.core.encryption import Secret
from portal.core.language import _
from portal.models import ServiceAuth, Token, Validity, WebService
from portal.triggers.triggers import Trigger
from portal.web.forms import Form, choices, chosen, text, words
from portal.web_services import web_services
from portal.web_services.web_services import Fields

_REQUIRED = InputRequired(_("This field is required."))
_OFF = {"autocomplete": "off", "spellcheck": "false"}
_SAME = ("name", "method", "url", "headers", "body", "login", "ca", "timeout", "success", "max_attempts", "comment")


class WebServiceForm(Form):
    name = StringField(_("Name"), [_REQUIRED, Length(max=200)], render_kw={"autocomplete": "off"})
    method = SelectField(_("Method"), choices=choices((method, method) for method in web_services.METHODS))
    url = StringField("URL", [_REQUIRED], render_kw={**_OFF, "placeholder": "https://"})
    authentication = SelectField(
        _("Authentication type"),
        choices=choices(
            [
                (ServiceAuth.NONE.value, _("none")),
                (ServiceAuth.BASIC.value, _("Basic (user name and password)")),
                (ServiceAuth.TOKEN.value, _("OAuth2 token (Authorization: Bearer)")),
                (
                    ServiceAuth.PLACEHOLDER.value,
                    _(
                        "OAuth2 token ({token_placeholder} in a header)",
                        token_placeholder=web_services.TOKEN_PLACEHOLDER,
                    ),
                ),
            ]
        ),
    )
    token = SelectField(_("OAuth2 token configuration"))
    login = StringField(_("Username"), render_kw=_OFF)
    secret = PasswordField(_("Password or secret"), render_kw={"autocomplete": "new-password"})
    headers = TextAreaField(
        _("Headers"),
        description=_(
            "One per line, Name: value. {token_placeholder} is replaced by the token, {secret_placeholder} by the "
            "secret, also in the URL.",
            token_placeholder=web_services.TOKEN_PLACEHOLDER,
            secret_placeholder=web_services.SECRET_PLACEHOLDER,
        ),
        render_kw={**_OFF, "rows": 3},
    )
    body = TextAreaField(
        _("Body"), description=_("A Jinja template; the variables are listed below."), render_kw={**_OFF, "rows": 6}
    )
    triggers = SelectMultipleField(
        _("Called when"),
        choices=words(Trigger),
        option_widget=CheckboxInput(),
        widget=ListWidget(prefix_label=False),
    )
    success = StringField(
        _("Success"), default="200-299", description=_("HTTP status codes that count as success, such as 200-299, 404.")
    )
    max_attempts = IntegerField(
        _("Attempts"), default=8, description=_("At intervals of 1 to 60 minutes, all with the same Idempotency-Key.")
    )
    timeout = IntegerField(_("Timeout"), default=30, description=_("Seconds to wait for the complete response."))
    ca = TextAreaField(
        _("Private CA"),
        description=_("CA certificates in PEM format, trusted for this server in addition to the standard CAs."),
        render_kw={**_OFF, "rows": 3},
    )
    validity = SelectField(_("Validity"), choices=words(Validity))
    comment = StringField(_("Comment"), [Length(max=250)])

    def offer(self, tokens: list[Token]) -> None:
        self.token.choices = choices([("", "–"), *((str(token.id), token.name) for token in tokens)])

    def show(self, row: WebService) -> None:
        for name in _SAME:
            self[name].data = getattr(row, name)
        self.authentication.data, self.validity.data = row.authentication.value, row.validity.value
        self.token.data = str(row.token.id) if row.token else ""
        self.triggers.data = web_services.occasions_of(row.triggers)

    def entered(self) -> Fields:
        by_token = self.authentication.data in (ServiceAuth.TOKEN, ServiceAuth.PLACEHOLDER)
        return Fields(
            name=text(self.name.data),
            url=text(self.url.data),
            method=self.method.data,
            headers=self.headers.data or "",
            body=(self.body.data or "").replace("\r\n", "\n"),
            authentication=ServiceAuth(self.authentication.data),
            login=text(self.login.data),
            token=chosen(Token, "token", self.token.data) if by_token and self.token.data else None,
            ca=(self.ca.data or "").replace("\r\n", "\n"),
            timeout=self.timeout.data or 0,
            success=text(self.success.data),
            max_attempts=self.max_attempts.data or 0,
            triggers=", ".join(self.triggers.data or []),
            validity=Validity(self.validity.data),
            comment=text(self.comment.data),
        )

    def typed_secret(self) -> Secret | None:
        return Secret(self.secret.data) if self.secret.data else None


class CallForm(Form):
    values = TextAreaField(
        _("Values"),
        description=_("One per line, name=value; available in the body as values.name."),
        render_kw={**_OFF, "rows": 2},
    )

    def pairs(self) -> dict[str, str]:
        lines = [line.partition("=") for line in (self.values.data or "").splitlines() if "=" in line]
        return {name.strip(): value.strip() for name, _, value in lines}
