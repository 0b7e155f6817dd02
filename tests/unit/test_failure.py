"""A command that fails says what happened and what to do, and ends with a code that programs can rely on."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import dispenser
import shared
import workers
from dispenser.cli.failure import Exit, Refused, Usage, exit_code, explanation
from dispenser.client import errors as client
from shared import errors


def _import_all() -> None:
    for package in (dispenser, shared, workers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__") and ".migrations" not in module.name:
                importlib.import_module(module.name)


def _kinds(root: type[Exception]) -> Iterator[type[Exception]]:
    for kind in root.__subclasses__():
        yield kind
        yield from _kinds(kind)


_import_all()
#: Ours alone: pytest imports tests, which may have errors of their own.
OURS = sorted(
    {
        kind
        for root in (errors.VaultError, client.VaultError)
        for kind in _kinds(root)
        if kind.__module__.partition(".")[0] in {"dispenser", "shared", "workers"}
    },
    key=lambda kind: (kind.__module__, kind.__qualname__),
)
SERVERS = [kind for kind in OURS if issubclass(kind, errors.VaultError)]


def test_exit_codes_are_stable() -> None:
    assert {code.name: code.value for code in Exit} == {"OK": 0, "USAGE": 2, "REFUSED": 3, "WORLD": 4}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("The grant was revoked."), Exit.REFUSED),
        (Usage("--ttl is too long."), Exit.USAGE),
        (errors.ConfigurationError(["a.yaml:1: no such field."]), Exit.USAGE),
        (client.Misconfigured("VAULT_URL is not set."), Exit.USAGE),
        (errors.StoreUnavailable("down"), Exit.WORLD),
        (errors.StoreNotMigrated("no tables"), Exit.WORLD),
        (errors.KeyMissing("no cache key"), Exit.WORLD),
        (client.VaultUnreachable("no connection"), Exit.WORLD),
        (client.Overloaded("later", retry_after=1), Exit.WORLD),
        (client.Denied("no policy"), Exit.REFUSED),
        (client.Unauthenticated("expired"), Exit.REFUSED),
        (client.ReauthorizationRequired("consent", connect_url="https://x"), Exit.REFUSED),
        (PermissionError(13, "Permission denied"), Exit.WORLD),
        (KeyError("a defect"), None),
        (AssertionError(), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_who_is_at_fault_is_told_by_the_exit_code(error: Exception, code: Exit | None) -> None:
    assert exit_code(error) is code


def test_the_error_classes_are_found() -> None:
    assert {errors.SealBroken, errors.ConfigurationError, client.Denied} <= set(OURS)


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__qualname__)
def test_every_error_class_says_what_happened_in_a_sentence_of_its_own(kind: type[Exception]) -> None:
    meaning = (kind.__doc__ or "").strip()
    assert len(meaning.split()) >= 5
    assert meaning.splitlines()[0].endswith((".", "?"))


@pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.__qualname__)
def test_every_error_of_the_servers_has_a_code_of_its_own_that_programs_can_read(
    kind: type[errors.VaultError],
) -> None:
    assert kind.code.replace("_", "").isalpha()
    assert kind.code.islower()
    assert [other.code for other in SERVERS].count(kind.code) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.__qualname__)
def test_an_explanation_is_what_was_said_and_what_that_means(kind: type[errors.VaultError]) -> None:
    said = "At 10:00, on disk."
    error = kind([said]) if issubclass(kind, errors.ConfigurationError) else kind(said)
    first, *rest = explanation(error).splitlines()
    assert first == said
    assert rest == [str(kind.__doc__).strip().splitlines()[0]]


def test_an_explanation_says_nothing_twice() -> None:
    meaning = str(errors.StoreUnavailable.__doc__)
    assert explanation(errors.StoreUnavailable(meaning)) == meaning
    assert explanation(errors.StoreUnavailable()) == meaning
    assert explanation(Usage("--ttl is too long.")) == "--ttl is too long."


def test_a_person_is_told_where_consent_is_given() -> None:
    error = client.ReauthorizationRequired(
        "slack-post: consent was withdrawn.", connect_url="https://v/c?ticket=t"
    )
    assert "https://v/c?ticket=t" in explanation(error)


def test_every_mistake_of_a_configuration_is_told() -> None:
    told = explanation(errors.ConfigurationError(["a.yaml:1: x.", "a.yaml:2: y."]))
    assert told.splitlines()[:2] == ["a.yaml:1: x.", "a.yaml:2: y."]
