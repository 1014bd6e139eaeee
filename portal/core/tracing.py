"""Traces: an ID for each request and piece of work in the log, and with PORTAL_OTLP_ENDPOINT spans for OpenTelemetry.

Spans name rows by ID and servers by host. They contain no names, addresses or texts of errors.
"""

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
_trace_id: ContextVar[str] = ContextVar("trace_id", default="")
#: OpenTelemetry's tracer and provider. None: spans are not exported.
_tracer: Any = None
_provider: Any = None


def export_to(endpoint: str | None) -> None:
    """Export the spans of this process to an OTLP endpoint over HTTP; None: no spans are made."""
    global _tracer, _provider
    if not endpoint or _provider is not None:
        return
    # Loaded here only: most portals do not export, and each process would need 10 MB more.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    _provider = TracerProvider(resource=Resource({"service.name": "mail-token-portal"}), shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    _tracer = _provider.get_tracer("portal")


def flush() -> None:
    """Export the spans that wait, before a process ends."""
    if _provider is not None:
        _provider.force_flush(2_000)


@contextmanager
def span(name: str, **facts: str | int) -> Iterator[None]:
    """A piece of work. The outermost one gets a new trace ID, which the log shows until it ends."""
    with _exported(name, facts) as trace_id:
        before = _trace_id.set(trace_id or _trace_id.get() or secrets.token_hex(16))
        try:
            yield
        finally:
            _trace_id.reset(before)


@contextmanager
def _exported(name: str, facts: dict[str, str | int]) -> Iterator[str]:
    """OpenTelemetry's span, and its trace ID; an empty ID if spans are not exported."""
    if _tracer is None:
        yield ""
        return
    from opentelemetry.trace import StatusCode

    is_done = False
    with _tracer.start_as_current_span(
        name, attributes=facts, record_exception=False, set_status_on_exception=False
    ) as made:
        try:
            yield f"{made.get_span_context().trace_id:032x}"
            is_done = True
        finally:
            made.set_status(StatusCode.OK if is_done else StatusCode.ERROR)


def traced(name: str, of: str) -> Callable[[Function], Function]:
    """Make each call of a function a span; ``of`` names its first argument, a row or the ID of one."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def run(first: Any, *args: Any, **kwargs: Any) -> Any:
            with span(name, **{of: getattr(first, "id", first)}):
                return function(first, *args, **kwargs)

        return run  # type: ignore[return-value]

    return decorate


def current() -> str:
    """The trace ID of the present work; empty outside of any."""
    return _trace_id.get()


class AddTraceId(logging.Filter):
    """Gives each record of the log the trace ID, as ``trace``: None outside of any work."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.trace = current() or None
        return True
