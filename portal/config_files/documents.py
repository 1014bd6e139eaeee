"""The content of configuration files: sections with records that have a name."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from portal.config_files.access_kinds import ApiKeys, Users
from portal.config_files.kinds import Destinations, Kind, MailAccounts, NoticeChannels, OutboundProfiles, WebServices
from portal.config_files.token_config_kind import TokenConfigs
from portal.core import strict_yaml
from portal.core.errors import PortalError

#: In the order of storing: rows refer to those of the sections before.
KINDS: list[Kind] = [
    TokenConfigs(), OutboundProfiles(), WebServices(), Destinations(), MailAccounts(), NoticeChannels(), Users(),
    ApiKeys(),
]  # fmt: skip
SETTINGS = "settings"
Record = dict[str, Any]


class InvalidFile(PortalError):
    """The content of a configuration file does not have the form of one."""


@dataclass
class Document:
    """The settings, and the records by section; a section that no file has is not there."""

    settings: dict[str, str] = field(default_factory=dict)
    sections: dict[str, list[Record]] = field(default_factory=dict)


def from_yaml(files: Iterable[bytes]) -> Document:
    """Read one or more files as one document. Raises InvalidYaml or InvalidFile."""
    document = Document()
    for raw in files:
        _merge(document, strict_yaml.load(raw))
    return document


def from_json(raw: bytes) -> Document:
    """Read the body of a request. Raises InvalidFile."""
    document = Document()
    try:
        _merge(document, json.loads(raw))
    except (ValueError, RecursionError) as error:
        raise InvalidFile("The content is not JSON.") from error
    return document


def _merge(document: Document, content: Any) -> None:
    if not isinstance(content, dict):
        raise InvalidFile("The file is not a mapping of sections, such as mail_accounts, to records.")
    known = [SETTINGS, *(kind.section for kind in KINDS)]
    for section, records in content.items():
        if section not in known:
            raise InvalidFile(f"Unknown section {section!r}. Known sections: {', '.join(known)}.")
        if section == SETTINGS:
            _merge_settings(document.settings, records)
        else:
            _merge_records(document.sections.setdefault(section, []), section, records)


def _merge_settings(settings: dict[str, str], given: Any) -> None:
    if not isinstance(given, dict) or any(isinstance(value, dict | list) for value in given.values()):
        raise InvalidFile(f"{SETTINGS}: not a mapping of names to values.")
    for name, value in given.items():
        if name in settings:
            raise InvalidFile(f"{SETTINGS}: {name} occurs twice.")
        settings[name] = "" if value is None else str(value)


def _merge_records(there: list[Record], section: str, given: Any) -> None:
    if not isinstance(given, list):
        raise InvalidFile(f"{section}: not a list of records.")
    names = {record["name"] for record in there}
    for number, record in enumerate(given, 1):
        name = record.get("name") if isinstance(record, dict) else None
        if not isinstance(name, str) or not name:
            raise InvalidFile(f"{section}: record {number} has no name.")
        if name != name.strip() or not name.isprintable():
            raise InvalidFile(f"{section}: the name of record {number} has a space at its end or a control character.")
        if name in names:
            raise InvalidFile(f"{section}: the name {name!r} occurs twice.")
        names.add(name)
        there.append(record)
