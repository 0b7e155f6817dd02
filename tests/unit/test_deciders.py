"""Deciders are plain functions of their arguments: what import contracts cannot see of that is seen here."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_WORLDLY_CALLS = {"now", "utcnow", "today", "time", "open", "urandom", "token_bytes", "read_text", "getenv"}
_ASYNC = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)


def _deciders() -> list[str]:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = configuration["tool"]["importlinter"]["contracts"]
    (deciders,) = (contract["source_modules"] for contract in contracts if contract.get("id") == "deciders")
    return deciders


def _worldly(source: str) -> Iterator[str]:
    """What in a source depends on more than arguments, with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _ASYNC):
            yield f"line {node.lineno}: {type(node).__name__}"
        elif isinstance(node, ast.comprehension) and node.is_async:
            yield f"line {node.iter.lineno}: asynchronous comprehension"
        elif isinstance(node, ast.Call) and _called(node) in _WORLDLY_CALLS:
            yield f"line {node.lineno}: {_called(node)}()"


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _sources(module: str) -> list[Path]:
    """A module's file, or those of a package."""
    path = ROOT / module.replace(".", "/")
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


@pytest.mark.parametrize("module", _deciders())
def test_a_decider_depends_on_its_arguments_alone(module):
    assert {
        path.name: found for path in _sources(module) if (found := list(_worldly(path.read_text())))
    } == {}


@pytest.mark.parametrize(
    "source",
    [
        "async def f(): ...",
        "datetime.now(UTC)",
        "date.today()",
        "time.time()",
        "open('file')",
        "os.urandom(12)",
        "lambda: [x async for x in y]",
    ],
)
def test_worldly_code_is_recognized(source):
    assert list(_worldly(source))
