"""The kinds of rows in configuration files: their fields, and the service functions that store them."""

from dataclasses import MISSING, dataclass, fields, replace
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, get_type_hints

from portal.core.encryption import Secret
from portal.core.errors import Invalid
from portal.incoming import destinations, mail_accounts
from portal.models import Destination, DestinationType, MailAccount, NoticeChannel, OutboundProfile, Row, WebService
from portal.monitoring import notice_channels
from portal.outgoing import outbound_profiles
from portal.web_services import web_services


@dataclass(frozen=True)
class Author:
    """Who applies a file, and when. ``is_remote``: through the API, not on the portal's machine."""

    actor: str
    now: datetime
    is_remote: bool = False


class Kind:
    """One section of a file. ``fields`` is a dataclass; ``secret`` names the secret of a record, if it has one."""

    section: ClassVar[str]
    model: ClassVar[type[Row]]
    fields: ClassVar[type]
    secret: ClassVar[str] = ""

    def find(self, name: str) -> Row | None:
        return self.model.get_or_none(self.model.name == name)  # type: ignore[attr-defined]

    def rows(self) -> list[Row]:
        """The rows that a file with this section is to name."""
        return list(self.model.select().order_by(self.model.name))  # type: ignore[attr-defined]

    def values(self, row: Row) -> dict[str, Any]:
        return {name: getattr(row, name) for name in self.annotations()}

    @classmethod
    @cache
    def annotations(cls) -> dict[str, Any]:
        return get_type_hints(cls.fields)

    def new(self, given: dict[str, Any]) -> Any:
        """The values of a new row. Raises Invalid for a choice that is not made; the service checks the rest."""
        empty: dict[Any, Any] = {str: "", int: 0}
        values = {}
        for one in fields(self.fields):
            annotation = self.annotations()[one.name]
            if one.default is MISSING and one.default_factory is MISSING and one.name not in given:
                if annotation not in empty and not isinstance(None, annotation):
                    raise Invalid({one.name: "This field is required."})
                values[one.name] = empty.get(annotation)
        return self.fields(**values, **given)

    def changed(self, row: Row, given: dict[str, Any], *, has_new_secret: bool) -> Any:
        """The values of a row after a change."""
        return replace(self.fields(**self.values(row)), **given)

    def add(self, entered: Any, secret: Secret | None, by: Author) -> None:
        raise NotImplementedError

    def edit(self, row: Any, entered: Any, secret: Secret | None, by: Author) -> None:
        raise NotImplementedError

    def delete(self, row: Any, by: Author) -> None:
        raise NotImplementedError

    def has_secret(self, row: Any, secret: Secret) -> bool:
        """Whether this secret is stored."""
        return bool(getattr(row, self.secret) == secret)

    def is_for_files_only(self, row: Any) -> bool:
        """Whether the API may not change the row: who can read files of the machine may do more than an API key."""
        return False


class ServiceKind(Kind):
    """A kind whose service functions are ``add``, ``edit`` and ``delete`` of one module, with a secret."""

    service: Any

    def add(self, entered: Any, secret: Secret | None, by: Author) -> None:
        self.service.add(entered, secret, actor=by.actor, now=by.now)

    def edit(self, row: Any, entered: Any, secret: Secret | None, by: Author) -> None:
        self.service.edit(row, entered, secret, actor=by.actor, now=by.now)

    def delete(self, row: Any, by: Author) -> None:
        self.service.delete(row, actor=by.actor, now=by.now)


class OutboundProfiles(ServiceKind):
    section, model, service = "outbound_profiles", OutboundProfile, outbound_profiles
    fields, secret = outbound_profiles.Fields, "password"


class WebServices(ServiceKind):
    section, model, service = "web_services", WebService, web_services
    fields, secret = web_services.Fields, "secret"


class NoticeChannels(ServiceKind):
    section, model, service = "notice_channels", NoticeChannel, notice_channels
    fields, secret = notice_channels.Fields, "url"


class MailAccounts(ServiceKind):
    section, model, service = "mail_accounts", MailAccount, mail_accounts
    fields, secret = mail_accounts.Fields, "password"


class Destinations(Kind):
    """Stored without connecting to a mail store: all rows of a file are stored in one transaction."""

    section, model, fields = "destinations", Destination, destinations.Fields

    def add(self, entered: destinations.Fields, secret: Secret | None, by: Author) -> None:
        destinations.check(entered)
        destinations.add_unchecked(entered, actor=by.actor, now=by.now)

    def edit(self, row: Destination, entered: destinations.Fields, secret: Secret | None, by: Author) -> None:
        if entered.type is not row.type:
            raise Invalid({"type": f"The type cannot be changed; the existing one is {row.type.value}."})
        destinations.check(entered)
        destinations.edit_unchecked(row, entered, actor=by.actor, now=by.now)

    def delete(self, row: Destination, by: Author) -> None:
        destinations.delete(row, actor=by.actor, now=by.now)

    def is_for_files_only(self, row: Destination) -> bool:
        return row.type is DestinationType.COMMAND
