"""The output of ``check``: a summary line with performance data, then one line per problem and component.

Format: monitoring-plugins.org.
"""

from portal.core.severity import Severity
from portal.monitoring.health import Part
from portal.monitoring.health_report import HealthReport
from portal.monitoring.problems import Problem

EXIT = {Severity.OK: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
#: With the lines of the components and of exposing settings, the output stays within 25 lines.
_PROBLEMS = 12
_WORD = {Severity.OK: "OK", Severity.WARNING: "WARNING", Severity.CRITICAL: "CRITICAL"}


def severity(found: HealthReport, exposures: list[str]) -> Severity:
    """The severity of the whole: that of the report, at least a warning if the process settings expose the portal."""
    return Severity.WARNING if exposures and found.severity is not Severity.CRITICAL else found.severity


def lines(found: HealthReport, exposures: list[str]) -> list[str]:
    """The output lines, the summary first. A ``|`` starts the performance data, so texts must not contain one."""
    first = f"PORTAL {_WORD[severity(found, exposures)]} - {_summary(found, exposures)}".replace("|", "/")
    parts = [f"{_WORD.get(part.state.severity, 'OK')}: {_part(part)}" for part in found.parts]
    problems = [_problem(one, found.is_known(one)) for one in found.problems]
    exposed = [f"WARNING: {text}" for text in exposures]
    more = [*_shortened(problems), *exposed, *parts]
    return [f"{first} | {_performance(found)}", *(line.replace("|", "/") for line in more)]


def _shortened(problems: list[str]) -> list[str]:
    if len(problems) <= _PROBLEMS:
        return problems
    return [*problems[:_PROBLEMS], f"and {len(problems) - _PROBLEMS} more; run: python -m portal notice list"]


def _summary(found: HealthReport, exposures: list[str]) -> str:
    texts = [one.text.rstrip(".") for one in found.problems if found.counts(one)]
    missing = [name for name in found.silent if not any(name.split()[0] in text for text in texts)]
    texts += [f"not working: {', '.join(missing)}"] if missing else []
    texts += [f"{text.split()[0]} exposes the portal" for text in exposures]
    if not texts:
        retrying = f", retrying after a failure: {', '.join(found.retrying)}" if found.retrying else ""
        return f"{found.tokens.good} tokens valid, {found.mail_accounts[1]} mail accounts fetched{retrying}"
    return "; ".join(texts[:3]) + (f"; and {len(texts) - 3} more" if len(texts) > 3 else "")


def _problem(one: Problem, known: bool) -> str:
    word = "ACKNOWLEDGED" if known else _WORD[one.severity]
    still = f" Affected: {', '.join(one.affected)}." if one.affected else ""
    return f"{word}: {one.text}{still} {one.remedy[0]}"


def _part(part: Part) -> str:
    at = f" {part.state.at:%Y-%m-%d %H:%M:%S}Z" if part.state.at else ""
    remedy = f". {part.state.remedy}" if part.state.remedy else ""
    return f"{part.name} {part.state.word}{at}{remedy}"


def _performance(found: HealthReport) -> str:
    fetched, well = found.mail_accounts
    values = {
        "tokens_good": found.tokens.good,
        "tokens_troubled": found.tokens.troubled,
        "tokens_broken": found.tokens.broken,
        "mail_accounts_fetched": fetched,
        "mail_accounts_failing": fetched - well,
        "broken": found.count(Severity.CRITICAL),
        "warnings": found.count(Severity.WARNING),
        **{f"due_{what.replace(' ', '_')}": count for what, count in found.due.items()},
    }
    return " ".join(f"{name}={value}" for name, value in values.items())
