"""Form to acknowledge a notice."""

from wtforms import SelectField, StringField

from portal.core.language import _
from portal.web.forms import Form, choices, text

#: Hours and their labels.
_LONG = [("1", _("1 hour")), ("4", _("4 hours")), ("24", _("1 day")), ("72", _("3 days")), ("168", _("1 week")),
         ("720", _("30 days"))]  # fmt: skip


class AcknowledgeForm(Form):
    hours = SelectField(_("Acknowledge for"), choices=choices(_LONG), default="24")
    comment = StringField(
        _("Comment"), filters=[text], description=_("For example who works on it. At most 250 characters.")
    )
