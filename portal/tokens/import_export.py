"""Export and import of token configurations as YAML; an import is planned first, then applied in one transaction."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import yaml

from portal import providers
from portal.core import strict_yaml
from portal.core.change import Change
from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import Invalid, PortalError
from portal.core.language import _
from portal.core.passphrase import PREFIXES, Passphrase, WrongPassphrase
from portal.models import ClientAuth, Flow, ImportDraft, LoginSession, TokenConfig, Validity
from portal.system import audit
from portal.tokens import config_fields, secret_hosts, token_configs, znuny_import
from portal.tokens.config_fields import Fields, NewSecret

_TEXTS = [name for name, default in asdict(Fields("", "", "")).items() if type(default) is str]
_SWITCHES = ("notify_expired_token", "notify_expired_refresh_token", "in_testing")
#: The validity of a configuration that Znuny has, but that cannot work.
_UNUSABLE = Validity.INVALID_TEMPORARILY.value
_OTHER = {"template", "client_auth", "validity", "client_secret", "client_secret_ends_on"}


class Verdict(StrEnum):
    NEW = "new"
    CHANGED = "changed"
    SAME = "same"
    #: Skipped: a configuration with this name exists, and overwriting was not requested.
    KEPT = "kept"
    REFUSED = "refused"


@dataclass
class Step:
    """The planned action for one record of an import. ``notes``: what an admin must know."""

    name: str
    verdict: Verdict
    changes: list[Change] = field(default_factory=list)
    why: str = ""
    notes: list[str] = field(default_factory=list)
    template: str = ""
    fields: Fields | None = None
    secret: NewSecret = field(default_factory=NewSecret)

    @property
    def asks_for_owner(self) -> bool:
        """Whether the record becomes a new configuration whose mailbox signs in."""
        return self.verdict is Verdict.NEW and Flow(providers.of(self.template).flow).has_sign_in


def export(
    names: list[str] | None = None,
    *,
    secrets: bool = False,
    passphrase: Secret | None = None,
    actor: str,
    now: datetime,
) -> str:
    """Return all configurations, or those in ``names``, as YAML sorted by name.

    Client secrets are included only with ``secrets`` or a passphrase; with a passphrase they are encrypted.
    """
    rows = list(TokenConfig.select().order_by(TokenConfig.name))
    if names is not None:
        rows = [TokenConfig.named(name) for name in names]
    sealing = Passphrase(passphrase) if passphrase else None
    records = [_record(row, secrets or bool(passphrase), sealing) for row in rows]
    content = "secrets, encrypted" if passphrase else "secrets in plain text" if secrets else "no secrets"
    listed = ", ".join(row.name for row in rows)[:1000]
    audit.record(
        actor, "token-configuration:exported", "token configuration", None, "", f"with {content}: {listed}", now
    )
    return yaml.dump(records, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=10_000)


def _record(row: TokenConfig, secrets: bool, sealing: Passphrase | None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": row.name, "template": row.template, "client_auth": row.client_auth.value}
    found |= {name: getattr(row, name) for name in _TEXTS if name != "name"}
    found |= {name: "yes" if getattr(row, name) else "no" for name in _SWITCHES}
    found["validity"] = row.validity.value
    secret = row.client_secret
    if secret and secret.ends_at:
        found["client_secret_ends_on"] = f"{secret.ends_at:%Y-%m-%d}"
    if secret and secrets and secret.value:
        found["client_secret"] = sealing.encrypt(secret.value) if sealing else secret.value.reveal()
    return found


def plan(raw: bytes, *, overwrite: bool, passphrase: Secret | None = None) -> list[Step]:
    """Plan the import of a file without changing anything. InvalidYaml if the file is not a valid export."""
    content = strict_yaml.load(raw)
    items = [content] if isinstance(content, dict) else content
    if not isinstance(items, list) or not items:
        raise strict_yaml.InvalidYaml(_("The file contains no token configuration."))
    sealing = Passphrase(passphrase) if passphrase else None
    existing = {row.name: row for row in TokenConfig.select()}
    steps, seen = [], set()
    for number, item in enumerate(items, 1):
        step = _step(item, number, existing, overwrite, sealing)
        if step.name in seen and step.verdict is not Verdict.REFUSED:
            step = Step(step.name, Verdict.REFUSED, why=_("The file contains this name twice."))
        seen.add(step.name)
        steps.append(step)
    return steps


def _step(
    item: Any, number: int, existing: Mapping[str, TokenConfig], overwrite: bool, sealing: Passphrase | None
) -> Step:
    if not isinstance(item, dict):
        return Step(f"record {number}", Verdict.REFUSED, why=_("The record is not a mapping of names to values."))
    is_of_znuny = znuny_import.is_record(item)
    record = znuny_import.record(item) if is_of_znuny else item
    name = record.get("name")
    if not isinstance(name, str):
        return Step(f"record {number}", Verdict.REFUSED, why=_("The record has no name."))
    try:
        step = _judged(record, existing.get(name), overwrite, sealing)
    except (PortalError, ValueError) as error:
        if not is_of_znuny or record.get("validity") == _UNUSABLE:
            return Step(name, Verdict.REFUSED, why=str(error))
        # Znuny's own template for app-only access cannot work before its tenant is entered.
        step = _step({**record, "validity": _UNUSABLE}, number, existing, overwrite, sealing)
        step.notes.append(_("Imported as {unusable}, because it cannot work: {error}", unusable=_UNUSABLE, error=error))
    step.notes += znuny_import.not_imported(item) if is_of_znuny else []
    return step


def _judged(record: Mapping[str, Any], row: TokenConfig | None, overwrite: bool, sealing: Passphrase | None) -> Step:
    template = providers.find(str(record.get("template", row.template if row else "")))
    fields = _fields(record, row, template)
    secret = _secret(record, sealing)
    config_fields.insert_tenant(template, fields)
    if row:
        secret_hosts.require_secret(row, fields, secret.value)
    has_key = row is not None and row.certificate is not None
    config_fields.check(fields, secret.value, Flow(template.flow), has_key=has_key)
    step = Step(fields.name, Verdict.NEW, template=template.key, fields=fields, secret=secret)
    if row is None:
        return step
    if row.template != template.key:
        raise Invalid(
            {"template": _("The template cannot be changed; the existing one is {template}.", template=row.template)}
        )
    if hosts := secret_hosts.new_hosts(row, fields):
        step.notes.append(
            _("Another host, {names}: the sign-ins of this configuration are removed.", names=", ".join(hosts))
        )
    step.changes = [
        Change(name, getattr(row, name), value) for name, value in asdict(fields).items() if getattr(row, name) != value
    ]
    used = row.client_secret
    if secret.value and (used is None or used.value != secret.value):
        step.changes.append(Change("client_secret"))
    if "client_secret_ends_on" in record and used and used.ends_at != secret.ends_at:
        step.changes.append(Change("client_secret_ends_on", _day(used.ends_at), _day(secret.ends_at)))
    if Change("client_secret") not in step.changes:
        kept = used.ends_at if used and "client_secret_ends_on" not in record else secret.ends_at
        step.secret = NewSecret(None, kept)
    step.verdict = Verdict.SAME if not step.changes else Verdict.CHANGED if overwrite else Verdict.KEPT
    return step


def _fields(record: Mapping[str, Any], row: TokenConfig | None, template: providers.Template) -> Fields:
    unknown = record.keys() - {*_TEXTS, *_SWITCHES, *_OTHER}
    if unknown:
        raise Invalid({str(name)[:60]: _("Unknown field.") for name in unknown})
    for name, value in record.items():
        if not isinstance(value, str) and not (name in _SWITCHES and isinstance(value, bool)):
            raise Invalid({name: _("The value must be text.")})
    if row:
        base = Fields(**{name: getattr(row, name) for name in Fields.__dataclass_fields__})
    else:
        tenant = record.get("tenant", "")
        base = config_fields.from_template(template, name=record["name"], client_id="", tenant=tenant)
    given: dict[str, Any] = {name: record[name] for name in _TEXTS if name in record}
    given |= {name: record[name] in (True, "yes", "true", "1") for name in _SWITCHES if name in record}
    if "validity" in record:
        given["validity"] = Validity(record["validity"])
    if "client_auth" in record:
        given["client_auth"] = ClientAuth(record["client_auth"])
    return replace(base, **given)


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d}" if moment else ""


def _secret(record: Mapping[str, Any], sealing: Passphrase | None) -> NewSecret:
    text, day = record.get("client_secret"), record.get("client_secret_ends_on")
    ends_at = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) if day else None
    if text and text.startswith(PREFIXES):
        if sealing is None:
            raise Invalid({"client_secret": _("The secret is encrypted. Enter the passphrase.")})
        return NewSecret(_opened(text, sealing), ends_at)
    return NewSecret(Secret(text) if text else None, ends_at)


def _opened(text: str, sealing: Passphrase) -> Secret:
    try:
        return sealing.decrypt(text)
    except WrongPassphrase as error:
        raise Invalid({"client_secret": str(error)}) from error


def apply(steps: list[Step], *, owners: Mapping[str, str] | None = None, actor: str, now: datetime) -> int:
    """Apply the new and changed records in one transaction; return their number.

    ``owners``: by the name of a new configuration, the only mailbox that may sign in; files of Znuny do not name it.
    Raises Invalid, with nothing imported, if a record was refused.
    """
    if refused := [step.name for step in steps if step.verdict is Verdict.REFUSED]:
        raise Invalid(
            {"file": _("Nothing was imported. Correct or remove in the file: {names}.", names=", ".join(refused))}
        )
    done = 0
    with transaction():
        for step in steps:
            if step.verdict not in (Verdict.NEW, Verdict.CHANGED) or step.fields is None:
                continue
            done += 1
            if step.verdict is Verdict.NEW:
                config = token_configs.add(
                    providers.find(step.template), step.fields, step.secret, actor=actor, now=now
                )
                if owner := (owners or {}).get(step.name, "").strip():
                    token_configs.name_owner(token_configs.tokens_of(config)[0], owner, actor=actor, now=now)
            else:
                token_configs.edit(TokenConfig.named(step.name), step.fields, step.secret, actor=actor, now=now)
        audit.record(
            actor, "token-configuration:imported", "token configuration", None, "", f"{done} of {len(steps)}", now
        )
    return done


def keep_draft(
    session: LoginSession, raw: bytes, passphrase: Secret | None, overwrite: bool, *, now: datetime
) -> ImportDraft:
    """Store a checked file, encrypted, until the same session confirms the import."""
    with transaction():
        ImportDraft.delete().where(ImportDraft.login_session == session.id).execute()
        draft: ImportDraft = ImportDraft.create(login_session=session, overwrite=overwrite, created_at=now)
        draft.content, draft.passphrase = Secret(raw.decode()), passphrase
        draft.save()
    return draft


def apply_draft(draft: ImportDraft, *, owners: Mapping[str, str], actor: str, now: datetime) -> int:
    """Import a stored file once; the plan is made again, because the rows may have changed since."""
    content = draft.content
    assert content is not None
    with transaction():
        ImportDraft.delete().where(ImportDraft.id == draft.id).execute()
        steps = plan(content.reveal().encode(), overwrite=draft.overwrite, passphrase=draft.passphrase)
        return apply(steps, owners=owners, actor=actor, now=now)
