"""Presets of destinations and web services for help desks, each run with the version that docs/help-desks.md names."""

from dataclasses import dataclass

from portal.core.language import _


@dataclass(frozen=True)
class Preset:
    """Values that a form is filled in with; the administrator replaces the example host."""

    key: str
    label: str
    #: By the name of the form's field.
    values: dict[str, str]
    remark: str


#: Presets of the form of destinations.
OF_DESTINATIONS = (
    Preset(
        "request-tracker",
        "Request Tracker",
        {
            "name": "Request Tracker",
            "type": "command",
            "command": "/usr/bin/rt-mailgate --queue General --action correspond --timeout 100 --url https://rt.example.org/",
        },
        _(
            "Replace the host and the queue. In RT, grant Everyone CreateTicket and ReplyToTicket for the queue. "
            "Without them RT refuses a message, but reports to the portal that it has taken it."
        ),
    ),
)
#: Presets of the form of web services, which a destination of type web service then uses.
OF_WEB_SERVICES = (
    Preset(
        "redmine",
        "Redmine",
        {
            "name": "Redmine",
            "url": "https://redmine.example.org/mail_handler?key=<PORTAL_SECRET>&issue%5Bproject%5D=helpdesk"
            "&unknown_user=accept&no_permission_check=1",
            "headers": "Content-Type: application/x-www-form-urlencoded",
            "body": "email={{ content|percent_encoded }}",
            "success": "201",
        },
        _(
            "Replace the host and the project, and enter Redmine's key for incoming emails as secret. When the web "
            "service is saved, add a destination of type web service that uses it."
        ),
    ),
)


def find(presets: tuple[Preset, ...], key: str | None) -> Preset | None:
    """Return the preset with this key; None if there is none."""
    return next((preset for preset in presets if preset.key == key), None)
