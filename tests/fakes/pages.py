"""A test client that checks the HTML of every page it fetches."""

import re
from html.parser import HTMLParser
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.builders import PASSWORD, SECRETS

_VOID = {"meta", "link", "input", "br", "hr", "img", "use", "path"}


class Page(HTMLParser):
    """A parsed HTML page with the elements that the checks need."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open, f"</{tag}> closes nothing"
            opened = self.open.pop()
            assert opened == tag, f"<{opened}> is closed by </{tag}>"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        body = re.sub(r"<(script|style)\b.*?</\1>", " ", self.html, flags=re.S)
        plain = re.sub(r"<[^>]+>", " ", body)
        for entity, character in (("&#39;", "'"), ("&#34;", '"'), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
            plain = plain.replace(entity, character)
        return " ".join(plain.split())

    def field(self, name: str) -> str:
        """Return the initial value of a form field."""
        for attributes in self.all("input"):
            if attributes.get("name") == name:
                return attributes.get("value") or ""
        raise AssertionError(f"no field {name}")


def check(page: Page) -> None:
    """Check a page: one h1, a title, a label for every field, unique IDs, no inline script or style, no secret."""
    assert not page.open, f"never closed: {page.open}"
    assert len(page.all("h1")) == 1
    assert re.search(r"<title>\s*\S", page.html)
    ids = [str(attributes["id"]) for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids)), f"an id twice: {sorted(ids)}"
    labels = {attributes.get("for") for attributes in page.all("label")}
    for tag in ("input", "select", "textarea"):
        for attributes in page.all(tag):
            if attributes.get("type") not in ("hidden", "submit"):
                assert attributes.get("id") in labels or attributes.get("aria-label"), f"no label: {attributes}"
    for form in page.all("form"):
        assert form.get("action"), "a form without an action"
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.tags for name in attributes)
    assert all(script.get("src") for script in page.all("script")), "an inline script"
    for secret in SECRETS:
        assert secret not in page.html, "a secret on the page"


class PageClient:
    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def get(self, path: str, status: int = 200, **options: Any) -> Page:
        return self._page(self.client.get(path, **options), status)

    def post(self, path: str, data: dict[str, Any] | None = None, status: int = 303) -> TestResponse:
        """Send a POST request with the CSRF token of the session."""
        response = self.client.post(path, data={"csrf_token": self.token(), **(data or {})})
        assert response.status_code == status, response.text
        if response.mimetype == "text/html" and status != 303:
            self._page(response, status)
        return response

    def submit(self, path: str, data: dict[str, Any]) -> Page:
        """Submit a form and follow the redirect."""
        response = self.client.post(path, data={"csrf_token": self.token(), **data}, follow_redirects=True)
        return self._page(response, response.status_code)

    def token(self) -> str:
        path = "/" if "portal_session" in str(self.client._cookies) else "/login"
        page = self.client.get(path, follow_redirects=True)
        return self._token_in(page.text) or self._token_in(self.client.get("/login").text)

    def _token_in(self, html: str) -> str:
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', html)
        return found[1] if found else ""

    def sign_in(self, name: str, password: str = PASSWORD) -> None:
        self.post("/login", {"name": name, "password": password})

    def _page(self, response: TestResponse, status: int) -> Page:
        assert response.status_code == status, response.text
        page = Page(response.text)
        check(page)
        return page
