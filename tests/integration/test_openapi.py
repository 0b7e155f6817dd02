"""Whatever comes to the HTTP door, it answers what its description lists, and never by a fault of ours."""

import contextlib
import zlib
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from dispenser.testing.vault_process import VaultServer, vault_process

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    allow_header_conformance,
]
#: For each operation and mode; a minute in all.
EXAMPLES = 25


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    """A vault of these tests' own: they revoke whatever can be revoked."""
    with vault_process(tmp_path_factory.mktemp("vault")) as server:
        yield server


@pytest.fixture(scope="module")
def api(vault: VaultServer) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{vault.vault_url}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_one_that_the_description_lists(
    mode: GenerationMode, api: schemathesis.BaseSchema, vault: VaultServer
) -> None:
    """With requests that fit the description, and with ones that do not."""
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) > 10
    failures = []
    for operation in operations:
        try:
            _hold(operation, mode, vault)
        except (Failure, FailureGroup) as failure:
            failures.append(f"{operation.label}: {failure}")
    assert not failures, "\n".join(failures)


def _hold(operation: schemathesis.APIOperation, mode: GenerationMode, vault: VaultServer) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def holds(case: schemathesis.Case) -> None:
        known(case, vault)
        response = case.call(headers=credentials(case, vault), timeout=45)
        case.validate_response(response, checks=CHECKS)

    # What has no parameters cannot be asked for wrongly.
    with contextlib.suppress(Unsatisfiable):
        holds()


def known(case: schemathesis.Case, vault: VaultServer) -> None:
    """Half of the cases ask for what there is, so that they get past the door."""
    if not case.path_parameters or zlib.crc32(repr((case.query, case.body)).encode()) % 2:
        return
    names = {"agent": vault.agent, "service": vault.services[0]}
    case.path_parameters |= {name: names[name] for name in case.path_parameters}


def credentials(case: schemathesis.Case, vault: VaultServer) -> dict[str, str]:
    asks_as_agent = "vault token" in repr(case.operation.definition.raw.get("security"))
    token = vault.agent_token if asks_as_agent else vault.admin_token
    return {"Authorization": f"Bearer {token}", "Prefer": "wait=30"}
