"""Forms for web services: request, authentication and triggers."""

from wtforms import IntegerField, PasswordField, SelectField, SelectMultipleField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length
from wtforms.widgets import CheckboxInput, ListWidget

from portal.core.encryption import Secret
from portal.models import ServiceAuth, Token, Validity, WebService
from portal.triggers.triggers import Trigger
from portal.web.forms import Form, choices, chosen, text
from portal.web_services import web_services
from portal.web_services.web_services import Fields

_REQUIRED = InputRequired("This field is required.")
_OFF = {"autocomplete": "off", "spellcheck": "false"}
_SAME = ("name", "method", "url", "headers", "body", "login", "ca", "timeout", "success", "max_attempts", "comment")


class WebServiceForm(Form):
    name = StringField("Name", [_REQUIRED, Length(max=200)], render_kw={"autocomplete": "off"})
    method = SelectField("Method", choices=choices((method, method) for method in web_services.METHODS))
    url = StringField("URL", [_REQUIRED], render_kw={**_OFF, "placeholder": "https://"})
    authentication = SelectField(
        "Authentication type",
        choices=choices(
            [
                (ServiceAuth.NONE.value, "none"),
                (ServiceAuth.BASIC.value, "Basic (user name and password)"),
                (ServiceAuth.TOKEN.value, "OAuth2 token (Authorization: Bearer)"),
                (ServiceAuth.PLACEHOLDER.value, f"OAuth2 token ({web_services.TOKEN_PLACEHOLDER} in a header)"),
            ]
        ),
    )
    token = SelectField("OAuth2 token configuration")
    login = StringField("Username", render_kw=_OFF)
    secret = PasswordField("Password or secret", render_kw={"autocomplete": "new-password"})
    headers = TextAreaField(
        "Headers",
        description=f"One per line, Name: value. {web_services.TOKEN_PLACEHOLDER} is replaced by the token, "
        f"{web_services.SECRET_PLACEHOLDER} by the secret, also in the URL.",
        render_kw={**_OFF, "rows": 3},
    )
    body = TextAreaField(
        "Body", description="A Jinja template; the variables are listed below.", render_kw={**_OFF, "rows": 6}
    )
    triggers = SelectMultipleField(
        "Called when",
        choices=choices((one.value, one.value) for one in Trigger),
        option_widget=CheckboxInput(),
        widget=ListWidget(prefix_label=False),
    )
    success = StringField(
        "Success", default="200-299", description="HTTP status codes that count as success, such as 200-299, 404."
    )
    max_attempts = IntegerField(
        "Attempts", default=8, description="At intervals of 1 to 60 minutes, all with the same Idempotency-Key."
    )
    timeout = IntegerField("Timeout", default=30, description="Seconds to wait for the complete response.")
    ca = TextAreaField(
        "Private CA",
        description="CA certificates in PEM format, trusted for this server in addition to the standard CAs.",
        render_kw={**_OFF, "rows": 3},
    )
    validity = SelectField("Validity", choices=choices((validity.value, validity.value) for validity in Validity))
    comment = StringField("Comment", [Length(max=250)])

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
        "Values",
        description="One per line, name=value; available in the body as values.name.",
        render_kw={**_OFF, "rows": 2},
    )

    def pairs(self) -> dict[str, str]:
        lines = [line.partition("=") for line in (self.values.data or "").splitlines() if "=" in line]
        return {name.strip(): value.strip() for name, _, value in lines}
