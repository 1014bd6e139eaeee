"""Forms for sign-in, the first admin and users."""

from wtforms import HiddenField, PasswordField, SelectField, StringField
from wtforms.validators import InputRequired

from portal.access.users import MIN_PASSWORD
from portal.models import Role
from portal.web.forms import Form, choices

_NEW_PASSWORD = {"autocomplete": "new-password", "minlength": MIN_PASSWORD}


class LoginForm(Form):
    name = StringField("Name", [InputRequired()], render_kw={"autocomplete": "username", "autofocus": True})
    password = PasswordField("Password", [InputRequired()], render_kw={"autocomplete": "current-password"})
    next = HiddenField()


class SetupForm(Form):
    name = StringField("Name", [InputRequired()], render_kw={"autocomplete": "username", "autofocus": True})
    password = PasswordField(
        "Password", [InputRequired()], description=f"At least {MIN_PASSWORD} characters.", render_kw=_NEW_PASSWORD
    )


class UserForm(Form):
    name = StringField("Name", [InputRequired()], render_kw={"autocomplete": "off"})
    role = SelectField(
        "Role",
        choices=choices(
            [
                (Role.VIEWER.value, "viewer – read only, without mail contents and secrets"),
                (Role.OPERATOR.value, "operator – also signs in mailboxes and starts fetches"),
                (Role.ADMIN.value, "admin – also configures the portal"),
            ]
        ),
    )
    password = PasswordField(
        "Password", [InputRequired()], description=f"At least {MIN_PASSWORD} characters.", render_kw=_NEW_PASSWORD
    )


class PasswordForm(Form):
    password = PasswordField(
        "New password", [InputRequired()], description=f"At least {MIN_PASSWORD} characters.", render_kw=_NEW_PASSWORD
    )
