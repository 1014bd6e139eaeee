"""Form for identity providers."""

from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired, Length

from portal.access.identity_providers import Fields
from portal.core.encryption import Secret
from portal.core.language import _
from portal.models import IdentityProvider
from portal.web.forms import Form, text

_REQUIRED = InputRequired(_("This field is required."))
_OFF = {"autocomplete": "off", "spellcheck": "false"}
_NAMES = ("name", "issuer", "client_id", "scope", "groups_claim", "admin_groups", "operator_groups", "auditor_groups",
          "viewer_groups")  # fmt: skip


class IdentityProviderForm(Form):
    name = StringField(
        _("Name"), [_REQUIRED, Length(max=100)], description=_("Shown on the sign-in page."), render_kw=_OFF
    )
    issuer = StringField(
        _("Issuer"), [_REQUIRED], description=_("Its discovery document names the endpoints."),
        render_kw={**_OFF, "placeholder": "https://"},
    )  # fmt: skip
    client_id = StringField(_("Client ID"), [_REQUIRED], render_kw=_OFF)
    client_secret = PasswordField(_("Client secret"), render_kw={"autocomplete": "new-password"})
    scope = StringField(_("Scope"), default="openid profile email", render_kw=_OFF)
    groups_claim = StringField(
        _("Claim with the groups"), default="groups", render_kw=_OFF,
        description=_("In the ID token, such as groups, roles or realm_access.roles."),
    )  # fmt: skip
    admin_groups = StringField(_("Groups of admins"), description=_("Separated by commas."), render_kw=_OFF)
    operator_groups = StringField(_("Groups of operators"), render_kw=_OFF)
    auditor_groups = StringField(_("Groups of auditors"), render_kw=_OFF)
    viewer_groups = StringField(_("Groups of viewers"), render_kw=_OFF)

    def show(self, row: IdentityProvider) -> None:
        for name in _NAMES:
            self[name].data = getattr(row, name)

    def entered(self) -> Fields:
        return Fields(**{name: text(self[name].data) for name in _NAMES})

    def typed_secret(self) -> Secret | None:
        return Secret(self.client_secret.data) if self.client_secret.data else None
