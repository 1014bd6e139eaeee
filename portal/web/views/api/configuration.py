"""The management API: the portal's configuration, in the form of a configuration file."""

from dataclasses import asdict

from flask import Response, g, request

from portal.access import api_keys
from portal.config_files import apply, documents, export, json_schema, secret_references
from portal.config_files.apply import Verdict
from portal.config_files.kinds import Author
from portal.web import permissions
from portal.web.views.api import callers
from portal.web.views.api.blueprint import bp, json_response


@bp.get("/configuration")
@permissions.public
def read_configuration() -> Response:
    return json_response(export.export(actor=_manager(), now=g.now))


@bp.post("/configuration")
@permissions.public
def apply_configuration() -> Response:
    """Apply a document. Status 422, with the steps as well, if a record is refused."""
    author = Author(_manager(), g.now, is_remote=True)
    raw = request.get_data()
    document = documents.from_json(raw) if request.mimetype == "application/json" else documents.from_yaml([raw])
    steps = apply.apply(
        document, secret_references.as_given, author, prune=_is_asked("prune"), dry_run=_is_asked("dry_run")
    )
    body = {
        "summary": apply.summary(steps),
        "changed": any(step.verdict is not Verdict.SAME for step in steps),
        "steps": [asdict(step) for step in steps],
    }
    is_refused = any(step.verdict is Verdict.REFUSED for step in steps)
    return json_response(body, 422 if is_refused else 200)


@bp.get("/configuration.schema.json")
@permissions.public
def configuration_schema() -> Response:
    return json_response(json_schema.document())


def _manager() -> str:
    """The caller, whose API key may manage the portal; raises NotAllowed."""
    caller = callers.caller()
    if caller.key is None:
        raise api_keys.NotAllowed("Managing the portal needs an API key; local users run the command apply.")
    api_keys.require_managing(caller.key, caller.place, now=g.now)
    return caller.key.submitter


def _is_asked(name: str) -> bool:
    return request.args.get(name, "") in ("1", "true", "yes")
