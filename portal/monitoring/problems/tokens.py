"""Detection of failed tokens, grouped by cause: client, provider, or the token itself."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, NamedTuple

from peewee import SQL, Case, fn

from portal import causes
from portal.causes import Cause, Fault, Where, inferred
from portal.core import token_state
from portal.models import Flow, MailAccount, OutboundProfile, Token, TokenConfig, Validity, WebService, tuples
from portal.monitoring.problems.problem import Problem, grouped, problem, within
from portal.system import settings
from portal.tokens import token_facts

#: Maximum number of values in one SQL statement.
_SLICE = 500


@dataclass(frozen=True)
class TokenProblems:
    """Problems of tokens. ``unusable``: IDs of unusable tokens; the rows that use them are not reported separately.

    ``unexplained``: expired tokens without a known cause. ``more``: number of tokens that were not examined.
    """

    problems: list[Problem]
    unusable: set[int]
    unexplained: list[Token]
    more: int


class _Trouble(IntEnum):
    """What is wrong with a token; what concerns many tokens comes first."""

    CLIENT = 0
    #: The provider does not issue tokens.
    FAILING = 1
    REFUSED = 2
    #: Rejected once.
    DOUBTED = 3
    EXPIRED = 4


class _Suspect(NamedTuple):
    """A token that has failed or expired. ``is_usable``: its access token is still valid."""

    id: int
    config: int
    trouble: _Trouble
    cause: str | None
    is_usable: bool

    @property
    def group(self) -> tuple[object, ...]:
        """Tokens of one group have one problem in common."""
        if self.trouble is _Trouble.CLIENT:
            return self.trouble, self.config
        if self.trouble is _Trouble.FAILING:
            return self.trouble, self.config, self.cause
        return self.trouble, self.id


def of_tokens(now: datetime, most: int | None) -> TokenProblems:
    """Return one problem for each rejected client or failing provider host, however many tokens it has.

    ``most``: the maximum number of problems; None: no limit.
    """
    suspects = _suspects(now)
    groups: dict[tuple[object, ...], list[_Suspect]] = {}
    for one in suspects:
        groups.setdefault(one.group, []).append(one)
    examined = list(groups.values())[:most]
    first = _tokens([group[0].id for group in examined])
    dependents, times = _dependents() if suspects else {}, _times(suspects)
    found, unexplained = [], []
    for group in examined:
        token = first[group[0].id]
        if problem := _problem(token, now):
            affected = [name for one in group if not one.is_usable for name in dependents.get(one.id, ())]
            found.append(replace(problem, affected=tuple(affected), **times.get(group[0].group, {})))
        else:
            unexplained.append(token)
    patience, known = settings.notice_after(), {token.id for token in unexplained}
    # A temporary problem is reported only when an attempt has failed after the notice delay.
    lasting = [one for one in grouped(found) if not one.temporary or _has_lasted(one, patience, now)]
    unusable = {one.id for one in suspects if not one.is_usable and one.id not in known}
    ended = [token for token in unexplained if _has_ended(token, now)]
    return TokenProblems(lasting, unusable, ended, sum(map(len, list(groups.values())[len(examined) :])))


def _has_lasted(one: Problem, patience: timedelta, now: datetime) -> bool:
    return one.since is None or (one.seen_at or now) - one.since >= patience


def _has_ended(token: Token, now: datetime) -> bool:
    return token.expires_at is not None and token.expires_at <= now


def _problem(token: Token, now: datetime) -> Problem | None:
    """Return the problem of a token by the first condition that applies; None: no problem."""
    config, has_ended = token.token_config, _has_ended(token, now)
    refresh = token_state.refresh_token(token_facts.of(token, timedelta()), now)
    is_announced = config.notify_expired_refresh_token or (config.notify_expired_token and has_ended)
    name = token.name
    if config.credentials_refused_at:
        return _of_config(config, is_announced)
    if token.refused_at:
        cause = inferred.infer(_cause(token), token)
        return _of_token(token, f"The refresh token for “{name}” was refused.", cause, token.refused_at, is_announced)
    if token.failing_since:
        return _of_trouble(token)
    if refresh.name == "expired":
        cause, since = causes.named("refresh-token-expired"), token.refresh_token_expires_at
        return _of_token(token, f"The refresh token for “{name}” has expired.", cause, since, is_announced)
    if refresh.name == "none given" and has_ended:
        text = f"The token for “{name}” has expired and there is no refresh token."
        return _of_token(token, text, causes.named("refresh-token-missing"), token.expires_at, is_announced)
    return None


def _of_config(config: TokenConfig, is_announced: bool) -> Problem:
    answer = config.credentials_answer or ""
    what = "requests" if token_state.is_about_the_request(answer) else "client ID or secret"
    return problem(
        f"configuration {config.id}",
        f"The provider rejects the {what} of “{config.name}”.",
        causes.stored(config.credentials_cause, answer, Where.PROVIDER),
        config.credentials_refused_at,
        response=answer,
        about=config,
        facts={"client_id": config.client_id, "host": config.host},
        where=Where.PROVIDER,
        announced=is_announced,
    )


def _of_token(token: Token, text: str, cause: Cause, since: datetime | None, is_announced: bool) -> Problem:
    response = token.failure or "" if token.refused_at else ""
    return problem(
        f"token {token.id}", text, cause, since, response=response, about=token.token_config, facts=facts_of(token),
        where=Where.PROVIDER, announced=is_announced,
    )  # fmt: skip


def _of_trouble(token: Token) -> Problem:
    """Return a temporary problem: the provider host fails, an unknown response, or an unconfirmed rejection."""
    config, cause = token.token_config, _cause(token)
    key, text, about = f"host {config.host}", f"{config.host} does not answer.", None
    if token.first_refused_at:
        cause = causes.named("refusal-unconfirmed")
        text = f"A token refresh for “{token.name}” was rejected once; the portal retries."
        key, about = f"token {token.id} doubted", config
    elif cause.fault not in (Fault.NETWORK, Fault.PROVIDER) or cause.name == causes.UNKNOWN:
        text = f"Tokens of “{config.name}” cannot be refreshed: {within(cause.title)}."
        key, about = f"renewals of {config.id}", config
    return problem(
        key, text, cause, token.failing_since, response=token.failure or "", about=about, facts=facts_of(token),
        next_try=token.due_at, where=Where.PROVIDER, temporary=True, seen_at=token.failed_at,
    )  # fmt: skip


def _cause(token: Token) -> Cause:
    return causes.stored(token.failure_cause, token.failure or "", Where.PROVIDER)


def facts_of(token: Token) -> dict[str, str]:
    """Return the values for the placeholders of a remedy."""
    config = token.token_config
    return {
        "mailbox": token.owner or "the mailbox",
        "owner": token.owner or "",
        "client_id": config.client_id,
        "host": config.host,
    }


def not_examined(more: int) -> list[Problem]:
    """Return the problem that stands for ``more`` tokens that have failed or expired."""
    text = f"{more:,} more tokens have failed or expired." if more > 1 else "One more token has failed or expired."
    return [problem("more tokens", text, causes.named("many-tokens-failed"), None)] if more else []


def never_requested() -> list[Problem]:
    """Return tokens that are in use but were never requested: shown on Home, without notification."""
    rows = Token.select(Token, TokenConfig).join(TokenConfig)
    waiting = list(rows.where(
        _is_needed(), Token.obtained_at.is_null(), Token.failing_since.is_null(),
        TokenConfig.validity == Validity.VALID, TokenConfig.credentials_refused_at.is_null(),
    ).order_by(TokenConfig.name))  # fmt: skip
    dependents, cause = _dependents() if waiting else {}, causes.named("token-never-requested")
    return [
        problem(
            f"token {token.id} never requested", f"No token has been requested for “{token.name}” yet.", cause, None,
            about=token.token_config, affected=tuple(dependents[token.id]), facts=facts_of(token), announced=False,
        )
        for token in waiting
    ]  # fmt: skip


def not_renewed(unexplained: list[Token], now: datetime) -> list[Problem]:
    """Return the problem of expired tokens that were not refreshed: at once if the switch Expired token is on."""
    patience = now - settings.notice_after()
    overdue = [
        one for one in unexplained if one.token_config.notify_expired_token or (one.expires_at or now) < patience
    ]
    if not overdue:
        return []
    dependents = _dependents()
    names = f"The token for “{overdue[0].name}” has" if len(overdue) == 1 else f"{len(overdue)} tokens have"
    return [
        problem(
            "not renewed",
            f"{names} expired.",
            causes.named("token-not-renewed"),
            min(token.expires_at or now for token in overdue),
            about=overdue[0].token_config if len(overdue) == 1 else None,
            affected=tuple(name for token in overdue for name in dependents.get(token.id, [])),
        )
    ]


def _suspects(now: datetime) -> list[_Suspect]:
    """Return the signed-in tokens of valid configurations that have failed or expired, by trouble, in one query."""
    refused, client = Token.refused_at.is_null(False), TokenConfig.credentials_refused_at.is_null(False)
    expired = Token.expires_at <= now
    trouble = Case(None, [
        (client, _Trouble.CLIENT), (refused, _Trouble.REFUSED), (Token.failing_since.is_null(), _Trouble.EXPIRED),
        (Token.first_refused_at.is_null(False), _Trouble.DOUBTED),
    ], _Trouble.FAILING)  # fmt: skip
    unusable = client | refused | Token.obtained_at.is_null() | expired
    is_usable = Case(None, [(unusable, 0)], 1)
    failed = refused | client | expired | (Token.refresh_token_expires_at <= now) | Token.failing_since.is_null(False)
    query = Token.select(Token.id, Token.token_config, trouble.alias("trouble"), Token.failure_cause, is_usable)
    rows = query.join(TokenConfig).where(_is_in_use(), TokenConfig.validity == Validity.VALID, failed)
    ordered = rows.order_by(SQL("trouble"), TokenConfig.name, Token.expires_at.asc(nulls="last"), Token.id)
    return [
        _Suspect(row_id, config, _Trouble(what), cause, bool(usable))
        for row_id, config, what, cause, usable in tuples(ordered)
    ]


def _tokens(ids: list[int]) -> dict[int, Token]:
    """Return tokens with their configurations, by id."""
    query = Token.select(Token, TokenConfig).join(TokenConfig)
    slices = [ids[start : start + _SLICE] for start in range(0, len(ids), _SLICE)] or [[]]
    return {row.id: row for some in slices for row in query.where(Token.id.in_(some))}


def _times(suspects: list[_Suspect]) -> dict[tuple[object, ...], dict[str, Any]]:
    """Return the first and the last failure of each group whose provider issues no tokens."""
    if not any(one.trouble is _Trouble.FAILING for one in suspects):
        return {}
    columns = Token.token_config, Token.failure_cause
    failing = Token.failing_since.is_null(False) & Token.refused_at.is_null() & Token.first_refused_at.is_null()
    query = Token.select(*columns, fn.MIN(Token.failing_since), fn.MAX(Token.failed_at)).where(failing)
    return {
        (_Trouble.FAILING, config, cause): {"since": since, "seen_at": seen}
        for config, cause, since, seen in tuples(query.group_by(*columns))
    }


def _is_in_use() -> Any:
    """Return the query condition: the token is signed in, or its flow needs no sign-in."""
    return Token.signed_in_at.is_null(False) | (TokenConfig.flow == Flow.CLIENT_CREDENTIALS)


def _is_needed() -> Any:
    """Return the query condition: a valid mail account, outbound profile or web service uses the token."""
    needed = [model.select(model.token).where(model.validity == Validity.VALID) for model, _ in _KINDS]
    return Token.id.in_(needed[0]) | Token.id.in_(needed[1]) | Token.id.in_(needed[2])


_KINDS: tuple[tuple[Any, str], ...] = ((MailAccount, ""), (OutboundProfile, "outbound profile "),
                                       (WebService, "web service "))  # fmt: skip


def _dependents() -> dict[int, list[str]]:
    """Return the names of the rows that use each token, by token ID; all but mail accounts with their kind."""
    names: dict[int, list[str]] = {}
    for model, kind in _KINDS:
        valid = model.select(model.name, model.token).where(
            model.validity == Validity.VALID, model.token.is_null(False)
        )
        for name, token_id in tuples(valid.order_by(model.name)):
            names.setdefault(token_id, []).append(f"{kind}{name}")
    return names
