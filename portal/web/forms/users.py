"""Forms for sign-in, the first admin and users."""

from zoneinfo import available_timezones

from wtforms import HiddenField, PasswordField, SelectField, SelectMultipleField, StringField
from wtforms.validators import InputRequired

from portal.access.passwords import MIN_LENGTH
from portal.models import Role, TokenConfig
from portal.web.forms import Form, choices

_NEW_PASSWORD = {"autocomplete": "new-password", "minlength": MIN_LENGTH}


class LoginForm(Form):
    name = StringField("Name", [InputRequired()], render_kw={"autocomplete": "username", "autofocus": True})
    password = PasswordField("Password", [InputRequired()], render_kw={"autocomplete": "current-password"})
    next = HiddenField()


class CodeForm(Form):
    code = StringField(
        "Code", [InputRequired()], description="Six digits of the authenticator app, or a recovery code.",
        render_kw={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"},
    )  # fmt: skip


class ConfirmForm(Form):
    present = PasswordField("Password", render_kw={"autocomplete": "current-password", "autofocus": True})
    next = HiddenField()


class SetupForm(Form):
    name = StringField("Name", [InputRequired()], render_kw={"autocomplete": "username", "autofocus": True})
    password = PasswordField(
        "Password", [InputRequired()], description=f"At least {MIN_LENGTH} characters.", render_kw=_NEW_PASSWORD
    )


class UserForm(Form):
    name = StringField("Name", [InputRequired()], render_kw={"autocomplete": "off"})
    role = SelectField(
        "Role",
        choices=choices(
            [
                (Role.VIEWER.value, "viewer – read only, without mail contents and secrets"),
                (Role.AUDITOR.value, "auditor – a viewer who also reads the audit trail, users and API keys"),
                (Role.OPERATOR.value, "operator – also signs in mailboxes and starts fetches"),
                (Role.ADMIN.value, "admin – also configures the portal"),
            ]
        ),
    )
    password = PasswordField(
        "Password", [InputRequired()], description=f"At least {MIN_LENGTH} characters.", render_kw=_NEW_PASSWORD
    )


class OperatorForm(Form):
    configs = SelectMultipleField("Token configurations", choices=[], render_kw={"size": 10})

    def offer(self, configs: list[TokenConfig]) -> None:
        self.configs.choices = choices([(str(config.id), config.name) for config in configs])

    def chosen(self) -> list[TokenConfig]:
        return list(TokenConfig.select().where(TokenConfig.id.in_([int(value) for value in self.configs.data])))


class PasswordForm(Form):
    password = PasswordField(
        "New password", [InputRequired()], description=f"At least {MIN_LENGTH} characters.", render_kw=_NEW_PASSWORD
    )


class OwnPasswordForm(PasswordForm):
    present = PasswordField("Present password", [InputRequired()], render_kw={"autocomplete": "current-password"})


class TimeZoneForm(Form):
    time_zone = SelectField(
        "Time zone",
        choices=choices(
            [("", "as in the settings (TimeZone)"), *((name, name) for name in sorted(available_timezones()))]
        ),
        description="Zone of the times on the pages; a time shows UTC when you point at it.",
    )
