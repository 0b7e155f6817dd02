"""The few pages that owners see. They load nothing from anywhere and run no script."""

import base64
import hashlib
from http import HTTPStatus
from typing import Any, Final

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

_TEMPLATES: Final = Environment(
    loader=PackageLoader("dispenser"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_STYLE: Final = _TEMPLATES.get_template("style.css").render()
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: How a page route's refusals are described.
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "default": {"description": "A page that says what happened.", "content": {"text/html": {}}}
}


def page(
    template: str, *, status: HTTPStatus = HTTPStatus.OK, form_action: str = "'none'", **facts: Any
) -> HTMLResponse:
    """A page with its facts filled in, all of them escaped."""
    html = _TEMPLATES.get_template(template).render(style=_STYLE, **facts)
    return HTMLResponse(
        html, status, {"Content-Security-Policy": _policy(form_action), "X-Frame-Options": "DENY"}
    )


def _policy(form_action: str) -> str:
    return (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {form_action}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
