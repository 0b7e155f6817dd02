"""An owner in a browser, as far as HTTP goes: no script runs."""

from collections import defaultdict
from html.parser import HTMLParser

import httpx

_MAX_STEPS = 20


class Browser:
    """Signs in as `login` and consents to everything. `http` keeps the cookies."""

    def __init__(self, http: httpx.AsyncClient, login: str) -> None:
        self._http = http
        self._login = login

    async def consent(self, address: str) -> httpx.Response:
        """What the client answers once the provider has sent the owner back to it."""
        return await self._http.get(await self.redirected(address))

    async def redirected(self, address: str) -> str:
        """Where the provider sends the owner in the end: the client's redirect URI with its parameters."""
        request = self._http.build_request("GET", address)
        for _ in range(_MAX_STEPS):
            if _is_callback(request.url):
                return str(request.url)
            page = await self._http.send(request, follow_redirects=False)
            request = page.next_request or self._submission(page)
        raise AssertionError(f"No way back to the client after {_MAX_STEPS} pages.")

    def _submission(self, page: httpx.Response) -> httpx.Request:
        """The page's form, filled in."""
        form = _FirstForm(page.text)
        if form.action is None:
            raise AssertionError(f"{page.status_code}, and no form to go on with: {page.text}")
        fields = {name: [value or self._login for value in values] for name, values in form.fields.items()}
        return self._http.build_request("POST", page.url.join(form.action), data=fields)


class _FirstForm(HTMLParser):
    """A page's first form: where it goes and what it sends when its first button is pressed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: defaultdict[str, list[str]] = defaultdict(list)
        self._pressed = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = given.get("action") or ""
        elif self.action is not None and given.get("name") and self._is_sent(tag, given):
            self.fields[given["name"] or ""].append(given.get("value") or "")

    def _is_sent(self, tag: str, given: dict[str, str | None]) -> bool:
        if tag == "button":
            first, self._pressed = not self._pressed, True
            return first
        return tag == "input" and (given.get("type") != "checkbox" or "checked" in given)


def _is_callback(url: httpx.URL) -> bool:
    """Whether an address carries the answer to an authorization request (RFC 6749 §4.1.2)."""
    return "state" in url.params and ("code" in url.params or "error" in url.params)
