"""Detection of failed tokens, grouped by cause: client, provider, or the token itself."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from portal import causes
from portal.causes import Cause, Fault, Where, inferred
from portal.core import token_state
from portal.core.language import Text, _, _n
from portal.models import MailAccount, OutboundProfile, Token, TokenConfig, Validity, WebService, tuples
from portal.monitoring.problems import failed_tokens
from portal.monitoring.problems.failed_tokens import FailedToken, Group
from portal.monitoring.problems.problem import Problem, grouped, problem, within
from portal.system import settings
from portal.tokens import token_facts


@dataclass(frozen=True)
class TokenProblems:
    """Problems of tokens. ``unusable``: IDs of unusable tokens; the rows that use them are not reported separately.

    ``unexplained``: expired tokens without a known cause. ``more``: number of tokens that were not examined.
    """

    problems: list[Problem]
    unusable: set[int]
    unexplained: list[Token]
    more: int


def of_tokens(now: datetime, most: int | None) -> TokenProblems:
    """Return one problem for each rejected client or failing provider host, however many tokens it has.

    ``most``: the maximum number of problems; None: no limit.
    """
    groups = failed_tokens.grouped(now)
    examined, others = list(groups.values())[:most], list(groups.values())[most:] if most else []
    found, unexplained = _examined(examined, failed_tokens.times(groups), now)
    # A temporary problem is reported only when an attempt has failed after the notice delay.
    patience, known = settings.notice_after(), {token.id for token in unexplained}
    lasting = [one for one in grouped(found) if not one.temporary or _has_lasted(one, patience, now)]
    unusable = {one.id for group in groups.values() for one in group if not one.is_usable and one.id not in known}
    ended = [token for token in unexplained if _has_ended(token, now)]
    return TokenProblems(lasting, unusable, ended, sum(map(len, others)))


def _examined(
    groups: list[list[FailedToken]], times: dict[Group, tuple[datetime, datetime]], now: datetime
) -> tuple[list[Problem], list[Token]]:
    """Return the problem of each group by its first token, and the tokens without a known problem."""
    found, unexplained = [], []
    tokens, dependents = failed_tokens.first_of(groups), _dependents() if groups else {}
    for group in groups:
        token = tokens.get(group[0].id)
        problem = _problem(token, now) if token else None
        if problem:
            since, seen_at = times.get(group[0].group, (problem.since, problem.seen_at))
            affected = [name for one in group if not one.is_usable for name in dependents.get(one.id, ())]
            found.append(replace(problem, affected=tuple(affected), since=since, seen_at=seen_at))
        elif token:
            unexplained.append(token)
    return found, unexplained


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
        return _of_token(
            token, _("The refresh token for “{name}” was refused.", name=name), cause, token.refused_at, is_announced
        )
    if token.failing_since:
        return _of_trouble(token)
    if refresh.name == "expired":
        cause, since = causes.named("refresh-token-expired"), token.refresh_token_expires_at
        return _of_token(token, _("The refresh token for “{name}” has expired.", name=name), cause, since, is_announced)
    if refresh.name == "none given" and has_ended:
        text = _("The token for “{name}” has expired and there is no refresh token.", name=name)
        return _of_token(token, text, causes.named("refresh-token-missing"), token.expires_at, is_announced)
    return None


def _of_config(config: TokenConfig, is_announced: bool) -> Problem:
    answer = config.credentials_answer or ""
    text = (
        _("The provider rejects the requests of “{name}”.", name=config.name)
        if token_state.is_about_the_request(answer)
        else _("The provider rejects the client ID or secret of “{name}”.", name=config.name)
    )
    return problem(
        f"configuration {config.id}",
        text,
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
    key, text, about = f"host {config.host}", _("{host} does not answer.", host=config.host), None
    if token.first_refused_at:
        cause = causes.named("refusal-unconfirmed")
        text = _("A token refresh for “{name}” was rejected once; the portal retries.", name=token.name)
        key, about = f"token {token.id} doubted", config
    elif cause.fault not in (Fault.NETWORK, Fault.PROVIDER) or cause.name == causes.UNKNOWN:
        text = _("Tokens of “{name}” cannot be refreshed: {reason}.", name=config.name, reason=within(cause.title))
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
        "mailbox": token.owner or "",
        "owner": token.owner or "",
        "client_id": config.client_id,
        "host": config.host,
    }


def not_examined(more: int) -> list[Problem]:
    """Return the problem that stands for ``more`` tokens that have failed or expired."""
    text = (
        _("{more:,} more tokens have failed or expired.", more=more)
        if more > 1
        else _("One more token has failed or expired.")
    )
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
            f"token {token.id} never requested",
            _("No token has been requested for “{name}” yet.", name=token.name), cause, None,
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
    text = _n("The token for “{name}” has expired.", "{count} tokens have expired.", len(overdue), name=overdue[0].name)
    return [
        problem(
            "not renewed",
            text,
            causes.named("token-not-renewed"),
            min(token.expires_at or now for token in overdue),
            about=overdue[0].token_config if len(overdue) == 1 else None,
            affected=tuple(name for token in overdue for name in dependents.get(token.id, [])),
        )
    ]


def _is_needed() -> Any:
    """Return the query condition: a valid mail account, outbound profile or web service uses the token."""
    needed = [model.select(model.token).where(model.validity == Validity.VALID) for model, _ in _KINDS]
    return Token.id.in_(needed[0]) | Token.id.in_(needed[1]) | Token.id.in_(needed[2])


_KINDS: tuple[tuple[Any, str], ...] = ((MailAccount, "{name}"), (OutboundProfile, _("outbound profile {name}")),
                                       (WebService, _("web service {name}")))  # fmt: skip


def _dependents() -> dict[int, list[str]]:
    """Return the names of the rows that use each token, by token ID; all but mail accounts with their kind."""
    names: dict[int, list[str]] = {}
    for model, kind in _KINDS:
        valid = model.select(model.name, model.token).where(
            model.validity == Validity.VALID, model.token.is_null(False)
        )
        for name, token_id in tuples(valid.order_by(model.name)):
            names.setdefault(token_id, []).append(Text(kind, name=name))
    return names
