"""Form for API keys."""

from datetime import UTC, datetime, time

from wtforms import BooleanField, DateField, IntegerField, SelectMultipleField, StringField
from wtforms.validators import InputRequired, Length, Optional
from wtforms.widgets import CheckboxInput, ListWidget

from portal.access.api_keys import Fields
from portal.core.language import _
from portal.models import TokenConfig
from portal.web.forms import Form, choices, text

_OFF = {"autocomplete": "off", "spellcheck": "false"}


class ApiKeyForm(Form):
    name = StringField(
        _("Name"),
        [InputRequired(_("This field is required.")), Length(max=100)],
        description=_("Program that uses this key."),
        render_kw={"autocomplete": "off"},
    )
    configs = SelectMultipleField(_("Tokens of"), option_widget=CheckboxInput(), widget=ListWidget(prefix_label=False))
    may_send = BooleanField(_("May send mail"), description=_("Through the SMTP listener and POST /api/v1/messages."))
    senders = StringField(
        _("Sends from"),
        description=_(
            "Sender addresses and domains of its mail, such as printer@example.com, @example.com. Empty: any."
        ),
        render_kw=_OFF,
    )
    per_hour = IntegerField(_("Messages per hour"), [Optional()], description=_("Empty: no limit."))
    for_relay = BooleanField(_("Without authentication on the relay listener"))
    may_read_health = BooleanField(_("May read health status"), description=_("GET /api/v1/health, for monitoring."))
    may_manage = BooleanField(
        _("May manage the portal"), description=_("GET and POST /api/v1/configuration, without users and API keys.")
    )
    networks = StringField(
        _("Networks"),
        description=_(
            "Networks and addresses that may use the key, such as 10.1.0.0/16, 127.0.0.1. Empty: any address."
        ),
        render_kw=_OFF,
    )
    ends_at = DateField(
        _("Expires on"), [Optional()], description=_("The key expires at the start of this day (UTC). Empty: never.")
    )
    comment = StringField(_("Comment"), [Length(max=250)])

    def offer(self, configs: list[TokenConfig]) -> None:
        self.configs.choices = choices((str(config.id), config.name) for config in configs)

    def entered(self) -> Fields:
        ids = [int(one) for one in self.configs.data or []]
        day = self.ends_at.data
        return Fields(
            name=text(self.name.data),
            configs=list(TokenConfig.select().where(TokenConfig.id.in_(ids)).order_by(TokenConfig.name)),
            networks=text(self.networks.data),
            may_send=bool(self.may_send.data),
            senders=text(self.senders.data),
            per_hour=self.per_hour.data,
            for_relay=bool(self.for_relay.data),
            may_read_health=bool(self.may_read_health.data),
            may_manage=bool(self.may_manage.data),
            ends_at=datetime.combine(day, time(), UTC) if day else None,
            comment=text(self.comment.data),
        )
