"""Commands for outbound profiles, messages, web services and API keys."""

from pathlib import Path

from portal.models import ApiKey, Destination, OutboundMessage, OutboundProfile, OutboundState, WebService
from tests.builders import make_config, make_message, make_profile, make_service
from tests.fakes.smtp_server import FakeSmtpServer
from tests.fakes.web_server import FakeWebServer
from tests.support.commands import Run, listed


def test_cli_manages_a_profile_and_sends_a_test_message(run: Run, smtp_server: FakeSmtpServer) -> None:
    server = ("--type", "SMTP", "--host", "127.0.0.1", "--port", str(smtp_server.port))
    run("outbound", "add", "--name", "Relay", *server, "--fallback", "--senders", "@x.test")
    assert listed(run("outbound", "list", "--json"))[0]["state"] == "unused"
    result = run("outbound", "test", "Relay", "--to", "me@x.test")
    assert "C: MAIL FROM:<me@x.test>" in result.output
    assert "accepted the message" in result.output
    smtp_server.does.data = "554 5.7.1 Spam"
    assert "rejected the message" in run("outbound", "test", "Relay", "--to", "me@x.test", code=1).stderr
    run("outbound", "edit", "Relay", "--name", "Office", "--per-minute", "30", "--no-fallback")
    shown = listed(run("outbound", "show", "Office", "--json"))
    assert (shown["per_minute"], shown["fallback"], shown["senders"]) == (30, False, "@x.test")
    run("outbound", "edit", "Office", "--per-minute", "0")
    assert OutboundProfile.get().per_minute is None
    run("outbound", "delete", "Office")
    assert OutboundProfile.select().count() == 0


def test_cli_lists_drops_and_retries_messages(run: Run) -> None:
    make_profile()
    message = make_message()
    (row,) = listed(run("outbound", "messages", "--state", "queued", "--json"))
    assert (row["id"], row["recipients"], row["perhaps_twice"]) == (message.id, "bob@example.test", False)
    run("outbound", "drop", str(message.id))
    run("outbound", "try-again", str(message.id))
    assert OutboundMessage.get().state is OutboundState.QUEUED
    assert "no message with this ID" in run("outbound", "drop", "99", code=1).stderr


def test_cli_manages_and_calls_a_web_service(run: Run, tmp_path: Path, web_server: FakeWebServer) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"n": "{{ values.n }}"}')
    options = ("--header", "X-A: b", "--body", f"@{body}", "--success", "200-299,404")
    run("web-service", "add", "--name", "Hook", "--url", web_server.url, *options)
    made = listed(run("web-service", "call", "Hook", "--set", "n=1", "--json"))
    assert (made["state"], made["status"]) == ("done", 200)
    assert web_server.asked[0].body == b'{"n": "1"}'
    web_server.answers = [(400, "no")]
    assert "answered 400" in run("web-service", "call", "Hook", "--set", "n=1", code=1).stderr
    assert len(listed(run("web-service", "calls", "Hook", "--json"))) == 2
    run("web-service", "edit", "Hook", "--occasions", "token refused", "--body", "{{ reason }}")
    assert listed(run("web-service", "list", "--json"))[0]["occasions"] == "token refused"
    assert "usage" in run("web-service", "call", "Hook", "--set", "n", code=2).stderr.lower()
    run("web-service", "delete", "Hook")
    assert WebService.select().count() == 0


def test_destination_list_shows_the_profile_or_web_service(run: Run) -> None:
    make_profile(name="Relay")
    make_service(name="Hook")
    run("destination", "add", "--name", "On", "--type", "smtp", "--outbound", "Relay", "--recipient", "a@x.test")
    run("destination", "add", "--name", "Call", "--type", "web-service", "--web-service", "Hook")
    shown = {row["name"]: row["goes_to"] for row in listed(run("destination", "list", "--json"))}
    assert shown == {"On": "a@x.test through Relay", "Call": "the web service Hook"}
    run("destination", "edit", "On", "--recipient", "b@x.test")
    assert Destination.named("On").goes_to == "b@x.test through Relay"
    assert "in use" in run("outbound", "delete", "Relay", code=1).stderr
    assert "in use" in run("web-service", "delete", "Hook", code=1).stderr


def test_api_key_is_printed_only_when_created(run: Run) -> None:
    make_config("Office")
    key = run(
        "api-key", "add", "Backup", "--config", "Office", "--networks", "10.0.0.0/8", "--ends", "2030-01-01"
    ).output
    assert key.startswith("mtp_")
    (row,) = listed(run("api-key", "list", "--json"))
    assert (row["configs"], row["networks"], row["used_at"]) == ("Office", "10.0.0.0/8", None)
    assert key.strip() not in run("api-key", "list").output
    assert "configs" in run("api-key", "add", "Nothing", code=1).stderr
    run("api-key", "delete", "Backup")
    assert ApiKey.select().count() == 0
