"""Form to acknowledge a notice."""

from wtforms import SelectField, StringField

from portal.web.forms import Form, choices, text

#: Hours and their labels.
_LONG = [("1", "1 hour"), ("4", "4 hours"), ("24", "1 day"), ("72", "3 days"), ("168", "1 week"),
         ("720", "30 days")]  # fmt: skip


class AcknowledgeForm(Form):
    hours = SelectField("Acknowledge for", choices=choices(_LONG), default="24")
    comment = StringField("Comment", filters=[text], description="For example who works on it. At most 250 characters.")
