"""Web services: what is called, and how it is proved."""

from wtforms import IntegerField, PasswordField, SelectField, SelectMultipleField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length
from wtforms.widgets import CheckboxInput, ListWidget

from portal.core.encryption import Secret
from portal.models import ServiceAuth, Token, Validity, WebService
from portal.triggers.triggers import Occasion
from portal.web.forms import Form, choices, chosen, text
from portal.web_services import web_services
from portal.web_services.web_services import Fields

_REQUIRED = InputRequired("This field is required.")
_OFF = {"autocomplete": "off", "spellcheck": "false"}
_SAME = ("name", "method", "url", "headers", "body", "login", "ca", "timeout", "success", "most_tries", "comment")


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
        description=f"One a line, Name: value. {web_services.TOKEN_PLACEHOLDER} stands for the token, "
        f"{web_services.SECRET_PLACEHOLDER} for the secret, in the URL as well.",
        render_kw={**_OFF, "rows": 3},
    )
    body = TextAreaField(
        "Body", description="A Jinja template; the variables are listed below.", render_kw={**_OFF, "rows": 6}
    )
    occasions = SelectMultipleField(
        "Called when",
        choices=choices((one.value, one.value) for one in Occasion),
        option_widget=CheckboxInput(),
        widget=ListWidget(prefix_label=False),
    )
    success = StringField(
        "Success", default="200-299", description="Statuses that count as success, such as 200-299, 404."
    )
    most_tries = IntegerField(
        "Tries", default=8, description="With pauses of 1 to 60 minutes, all with the same Idempotency-Key."
    )
    timeout = IntegerField("Timeout", default=30, description="Seconds for the whole answer.")
    ca = TextAreaField(
        "Private CA",
        description="Certificates in PEM form, trusted for this server beside the usual ones.",
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
        self.occasions.data = web_services.occasions_of(row.occasions)

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
            most_tries=self.most_tries.data or 0,
            occasions=", ".join(self.occasions.data or []),
            validity=Validity(self.validity.data),
            comment=text(self.comment.data),
        )

    def typed_secret(self) -> Secret | None:
        return Secret(self.secret.data) if self.secret.data else None


class CallForm(Form):
    values = TextAreaField(
        "Values",
        description="One a line, name=value; the body knows them as values.name.",
        render_kw={**_OFF, "rows": 2},
    )

    def pairs(self) -> dict[str, str]:
        lines = [line.partition("=") for line in (self.values.data or "").splitlines() if "=" in line]
        return {name.strip(): value.strip() for name, _, value in lines}
