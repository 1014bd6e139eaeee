"""What is said of a notice."""

from wtforms import SelectField, StringField

from portal.web.forms import Form, choices, text

#: Hours, and how they are called.
_LONG = [("1", "an hour"), ("4", "four hours"), ("24", "a day"), ("72", "three days"), ("168", "a week"),
         ("720", "30 days")]  # fmt: skip


class AcknowledgeForm(Form):
    hours = SelectField("Known for", choices=choices(_LONG), default="24")
    comment = StringField("Comment", filters=[text], description="Who is at it, for example; at most 250 characters.")
