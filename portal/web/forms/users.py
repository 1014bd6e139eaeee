"""Forms for sign-in, the first admin and users."""

from zoneinfo import available_timezones

from wtforms import HiddenField, PasswordField, SelectField, SelectMultipleField, StringField
from wtforms.validators import InputRequired

from portal.access.passwords import MIN_LENGTH
from portal.core.language import _, languages
from portal.models import Role, TokenConfig
from portal.web.forms import Form, choices

_NEW_PASSWORD = {"autocomplete": "new-password", "minlength": MIN_LENGTH}


class LoginForm(Form):
    name = StringField(_("Name"), [InputRequired()], render_kw={"autocomplete": "username", "autofocus": True})
    password = PasswordField(_("Password"), [InputRequired()], render_kw={"autocomplete": "current-password"})
    next = HiddenField()


class CodeForm(Form):
    code = StringField(
        _("Code"), [InputRequired()], description=_("Six digits of the authenticator app, or a recovery code."),
        render_kw={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"},
    )  # fmt: skip


class ConfirmForm(Form):
    present = PasswordField(_("Password"), render_kw={"autocomplete": "current-password", "autofocus": True})
    next = HiddenField()


class SetupForm(Form):
    name = StringField(_("Name"), [InputRequired()], render_kw={"autocomplete": "username", "autofocus": True})
    password = PasswordField(
        _("Password"),
        [InputRequired()],
        description=_("At least {min_length} characters.", min_length=MIN_LENGTH),
        render_kw=_NEW_PASSWORD,
    )


class UserForm(Form):
    name = StringField(_("Name"), [InputRequired()], render_kw={"autocomplete": "off"})
    role = SelectField(
        _("Role"),
        choices=choices(
            [
                (Role.VIEWER.value, _("viewer – read only, without mail contents and secrets")),
                (Role.AUDITOR.value, _("auditor – a viewer who also reads the audit trail, users and API keys")),
                (Role.OPERATOR.value, _("operator – also signs in mailboxes and starts fetches")),
                (Role.ADMIN.value, _("admin – also configures the portal")),
            ]
        ),
    )
    password = PasswordField(
        _("Password"),
        [InputRequired()],
        description=_("At least {min_length} characters.", min_length=MIN_LENGTH),
        render_kw=_NEW_PASSWORD,
    )


class OperatorForm(Form):
    configs = SelectMultipleField(_("Token configurations"), choices=[], render_kw={"size": 10})

    def offer(self, configs: list[TokenConfig]) -> None:
        self.configs.choices = choices([(str(config.id), config.name) for config in configs])

    def chosen(self) -> list[TokenConfig]:
        return list(TokenConfig.select().where(TokenConfig.id.in_([int(value) for value in self.configs.data])))


class PasswordForm(Form):
    password = PasswordField(
        _("New password"),
        [InputRequired()],
        description=_("At least {min_length} characters.", min_length=MIN_LENGTH),
        render_kw=_NEW_PASSWORD,
    )


class OwnPasswordForm(PasswordForm):
    present = PasswordField(_("Present password"), [InputRequired()], render_kw={"autocomplete": "current-password"})


class DisplayForm(Form):
    language = SelectField(_("Language"), choices=choices([("", _("as in the browser")), *languages().items()]))
    time_zone = SelectField(
        _("Time zone"),
        choices=choices(
            [("", _("as in the settings (TimeZone)")), *((name, name) for name in sorted(available_timezones()))]
        ),
        description=_("Zone of the times on the pages; a time shows UTC when you point at it."),
    )
