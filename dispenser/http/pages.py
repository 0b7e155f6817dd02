"""The few pages that owners see. They load nothing from anywhere and run no script."""

import base64
import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

_TEMPLATES: Final = Environment(
    loader=PackageLoader("dispenser"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_STYLE: Final = _TEMPLATES.get_template("style.css").render()
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_SAYS: Final = {"description": "A page that says what happened.", "content": {"text/html": {}}}
#: How a page route's refusals are described.
REFUSALS: Final[dict[int | str, dict[str, Any]]] = dict.fromkeys((400, 401, 403, 404, 409, 500, 503), _SAYS)
#: And where the outcome is still open.
PENDING: Final[dict[int | str, dict[str, Any]]] = {202: _SAYS}


def page(
    template: str,
    *,
    status: HTTPStatus = HTTPStatus.OK,
    form_action: str = "'none'",
    headers: Mapping[str, str] | None = None,
    **facts: Any,
) -> HTMLResponse:
    """A page with its facts filled in, all of them escaped."""
    html = _TEMPLATES.get_template(template).render(style=_STYLE, **facts)
    guards = {"Content-Security-Policy": _policy(form_action), "X-Frame-Options": "DENY"}
    return HTMLResponse(html, status, {**(headers or {}), **guards})


def _policy(form_action: str) -> str:
    return (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {form_action}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
