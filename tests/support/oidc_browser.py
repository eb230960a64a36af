"""The person at the browser while a command waits: follows the provider's own pages, as a script of forms."""

import html.parser
import http.cookiejar
import urllib.error
import urllib.parse
import urllib.request
from typing import Final

_PAGES_MAX: Final = 12
"""Code, login, consent, each with a redirect; a provider that asks for more is not the one we know."""


class _Form(html.parser.HTMLParser):
    """The first form of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action = given.get("action", "")
        if tag == "input" and given.get("name"):
            self.fields.setdefault(given["name"], given.get("value", ""))


def confirm(url: str, name: str, *, deny: bool = False) -> str:
    """Log in as `name` and confirm the code in `url`, or refuse it; the text of the last page."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    page, data, refused = url, None, False
    for _ in range(_PAGES_MAX):
        try:
            with opener.open(page, data, timeout=30) as answer:
                page, text = str(answer.url), str(answer.read(), "utf-8")
        except urllib.error.HTTPError as error:
            with error:
                return str(error.read(), "utf-8")
        form = _Form()
        form.feed(text)
        if form.action is None or "Sign-in Success" in text or refused:
            return text
        fields = dict(form.fields)
        if deny and "abort" in text:
            fields["abort"], refused = "yes", True
        if "login" in fields:
            fields |= {"login": name, "password": "any"}
        page, data = urllib.parse.urljoin(page, form.action), urllib.parse.urlencode(fields).encode()
    raise AssertionError(f"no end: {text[:500]}")
