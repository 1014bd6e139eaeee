import json
import logging
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pytest_httpserver import HTTPServer

from portal.core import log, tracing


@pytest.fixture
def exported(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    monkeypatch.setattr(tracing, "_tracer", None)
    monkeypatch.setattr(tracing, "_provider", None)
    httpserver.expect_request("/v1/traces", "POST").respond_with_data(b"", content_type="application/x-protobuf")
    tracing.export_to(httpserver.url_for("/"))
    yield httpserver
    tracing._provider.shutdown()


def spans(server: HTTPServer) -> dict[str, tuple[str, str, dict[str, str]]]:
    """Return trace ID, parent and attributes of each exported span by name."""
    tracing.flush()
    found = {}
    for request, _ in server.log:
        message = ExportTraceServiceRequest.FromString(request.get_data())
        for span in message.resource_spans[0].scope_spans[0].spans:
            facts = {one.key: one.value.string_value or str(one.value.int_value) for one in span.attributes}
            found[span.name] = (span.trace_id.hex(), span.parent_span_id.hex(), facts)
    return found


def logged(caplog: pytest.LogCaptureFixture, text: str) -> logging.LogRecord:
    record = logging.makeLogRecord({"msg": text, "levelname": "INFO", "name": "portal"})
    tracing.AddTraceId().filter(record)
    return record


def test_log_shows_the_same_trace_for_all_of_one_work(caplog: pytest.LogCaptureFixture) -> None:
    assert tracing.current() == ""
    with tracing.span("fetch", mail_account=1):
        outer = tracing.current()
        with tracing.span("connect", host="x.test"):
            assert tracing.current() == outer
        text = log._Text("%(message)s").format(logged(caplog, "hello"))
        assert text == f"hello [trace {outer}]"
        assert json.loads(log._json().format(logged(caplog, "hello")))["trace"] == outer
    with tracing.span("fetch", mail_account=2):
        assert tracing.current() != outer
    assert log._Text("%(message)s").format(logged(caplog, "hello")) == "hello"


def test_spans_reach_the_collector_with_their_parents(exported: HTTPServer) -> None:
    with tracing.span("job refresh"):
        in_log = tracing.current()
        with tracing.span("HTTP POST", host="login.example.test"):
            pass
    found = spans(exported)
    assert found["HTTP POST"][0] == found["job refresh"][0] == in_log
    assert found["HTTP POST"][1]
    assert found["HTTP POST"][2] == {"host": "login.example.test"}


def test_failed_work_is_exported_without_the_text_of_its_error(exported: HTTPServer) -> None:
    with pytest.raises(ValueError, match="secret"), tracing.span("fetch", mail_account=7):
        raise ValueError("a secret text")
    assert "fetch" in spans(exported)
    assert not any(b"secret" in request.get_data() for request, _ in exported.log)


def test_traced_function_names_the_row() -> None:
    @tracing.traced("refresh", "token")
    def work(token_id: int) -> str:
        return tracing.current()

    assert len(work(5)) == 32
