"""A token configuration, under Znuny's labels."""

from wtforms import BooleanField, PasswordField, SelectField, StringField
from wtforms.validators import InputRequired, Length

from portal.forms import Form, choices, text
from portal.models import TokenConfig, Validity
from portal.providers import Template
from portal.sealing import Secret
from portal.token_configs import Fields, from_template

_REQUIRED = InputRequired("This field is required.")
_OFF = {"autocomplete": "off", "spellcheck": "false"}
_TEXTS = ("name", "tenant", "client_id", "authorize_url", "token_url", "refresh_url", "scope", "issuer", "jwks_url",
          "userinfo_url")  # fmt: skip
_OPTIONAL = "May be empty. With it the portal shows whose mailbox was signed in."


class TokenConfigForm(Form):
    name = StringField("Name", [_REQUIRED, Length(max=250)], render_kw={"autocomplete": "off"})
    tenant = StringField(
        "Tenant", [Length(max=250)], description="The tenant ID or a domain of the organisation.", render_kw=_OFF
    )
    client_id = StringField("Client ID", [_REQUIRED, Length(max=500)], render_kw=_OFF)
    client_secret = PasswordField("Client secret", render_kw={"autocomplete": "new-password"})
    authorize_url = StringField("URL for authorization code", [_REQUIRED], render_kw=_OFF)
    token_url = StringField("URL for token by authorization code", [_REQUIRED], render_kw=_OFF)
    refresh_url = StringField("URL for token by refresh token", [_REQUIRED], render_kw=_OFF)
    scope = StringField("Scope", render_kw=_OFF)
    issuer = StringField("Issuer", description=_OPTIONAL, render_kw=_OFF)
    jwks_url = StringField("URL for signing keys", description=_OPTIONAL, render_kw=_OFF)
    userinfo_url = StringField(
        "URL for user information", description="Asked when there are no signing keys.", render_kw=_OFF
    )
    notify_expired_token = BooleanField("Expired token")
    notify_expired_refresh_token = BooleanField("Expired refresh token")
    validity = SelectField("Validity", choices=choices((validity.value, validity.value) for validity in Validity))

    def offer(self, template: Template) -> None:
        """Start with what the template knows; the name is for the admin to choose."""
        preset = from_template(template, name="", client_id="", tenant="{tenant}" if template.tenant_editable else "")
        for name, value in vars(preset).items():
            if name not in ("name", "client_id", "tenant", "validity"):
                self[name].data = value

    def show(self, config: TokenConfig) -> None:
        """Start with what is stored; the client secret is never among it."""
        for name in Fields.__dataclass_fields__:
            self[name].data = getattr(config, name)

    def entered(self) -> Fields:
        """The values, with the tenant put into the URLs where they leave its place open."""
        typed = {name: text(self[name].data) for name in _TEXTS}
        tenant = typed["tenant"]
        for name in ("authorize_url", "token_url", "refresh_url", "jwks_url"):
            typed[name] = typed[name].replace("{tenant}", tenant or "{tenant}")
        return Fields(
            **typed,
            validity=Validity(self.validity.data),
            notify_expired_token=self.notify_expired_token.data,
            notify_expired_refresh_token=self.notify_expired_refresh_token.data,
        )

    def secret(self) -> Secret | None:
        """None when nothing was typed: the secret that is set stays."""
        typed = text(self.client_secret.data)
        return Secret(typed) if typed else None
