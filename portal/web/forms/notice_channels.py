"""Form for notice channels."""

from wtforms import PasswordField, SelectField, StringField
from wtforms.validators import InputRequired, Length

from portal.core.encryption import Secret
from portal.core.language import _
from portal.core.severity import Severity
from portal.models import NoticeChannel
from portal.monitoring.notice_channels import Fields
from portal.web.forms import Form, choices, text

_OFF = {"autocomplete": "off", "spellcheck": "false"}
_CLOCK = {**_OFF, "type": "time"}


class NoticeChannelForm(Form):
    name = StringField(_("Name"), [InputRequired(_("This field is required.")), Length(max=100)], render_kw=_OFF)
    url = PasswordField(_("URL of the service (Apprise)"), render_kw={"autocomplete": "new-password"})
    severity = SelectField(
        _("Notices"),
        choices=choices(
            [(Severity.WARNING.value, _("critical and warnings")), (Severity.CRITICAL.value, _("critical only"))]
        ),
    )
    quiet_from = StringField(_("Quiet from"), description=_("Nothing is sent between these times."), render_kw=_CLOCK)
    quiet_until = StringField(
        _("Quiet until"), description=_("Times of day in the zone of the setting TimeZone."), render_kw=_CLOCK
    )

    def show(self, row: NoticeChannel) -> None:
        for name in ("name", "severity", "quiet_from", "quiet_until"):
            self[name].data = getattr(row, name)

    def entered(self) -> Fields:
        return Fields(
            name=text(self.name.data),
            severity=Severity(self.severity.data),
            quiet_from=text(self.quiet_from.data),
            quiet_until=text(self.quiet_until.data),
        )

    def typed_url(self) -> Secret | None:
        return Secret(text(self.url.data)) if text(self.url.data) else None
