"""The API's description, as OpenAPI has it: complete, so that nothing is answered that it does not list."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from dispenser.http.problems import ProblemDocument, documented

#: What every route may answer: the body is too long, or the fault is ours.
EVERYWHERE: Final = documented(413, 500)
#: FastAPI's own answer to a request that does not fit. Ours is a problem document with status 400.
_FOREIGN: Final = {"HTTPValidationError", "ValidationError"}


def completed(description: dict[str, Any]) -> dict[str, Any]:
    """With the one shape of refusals, and without the one that FastAPI presumes."""
    for operations in description["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in repr(operation["responses"].get("422")):
                del operation["responses"]["422"]
    kept = {n: s for n, s in description["components"]["schemas"].items() if n not in _FOREIGN}
    description["components"]["schemas"] = kept | {"ProblemDocument": ProblemDocument.model_json_schema()}
    return description


def json_request(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """A body that a route reads by itself."""
    return _request("application/json", inlined(model), required=required)


def form_request(form_type: str, wanted: Mapping[str, Any], **optional: Mapping[str, Any]) -> dict[str, Any]:
    """A form that a route reads by itself: the fields that it wants, and those that it takes."""
    schema = {"type": "object", "required": list(wanted), "properties": {**wanted, **optional}}
    return _request(form_type, schema, required=True)


def query_parameters(**described: str) -> dict[str, Any]:
    """Texts in the query that a route reads by itself."""
    found = [
        {"name": name, "in": "query", "schema": {"type": "string"}, "description": says}
        for name, says in described.items()
    ]
    return {"parameters": found}


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """A model's schema in one piece: a route's description has no place for its parts."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return whole(parts[value["$ref"].rpartition("/")[2]])
        return {name: whole(each) for name, each in value.items()}

    found: dict[str, Any] = whole(schema)
    return found


def _request(media_type: str, schema: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": {media_type: {"schema": schema}}}}
