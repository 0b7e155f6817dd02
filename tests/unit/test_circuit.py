from datetime import UTC, datetime, timedelta

from shared.model import ProviderSecrets
from shared.secret import Secret
from workers.circuit import OPEN_SECONDS, Circuit

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=OPEN_SECONDS)
SECRETS = ProviderSecrets(client_secrets=(Secret("new"), Secret("old")))


def test_a_refused_client_keeps_everybody_off_for_a_while():
    circuit = Circuit()
    assert circuit.admits(NOW)
    assert not circuit.client_refused(1, NOW)
    assert not circuit.admits(NOW + timedelta(seconds=OPEN_SECONDS - 1))


def test_then_one_request_goes_on_trial_and_the_others_wait():
    circuit = Circuit()
    circuit.client_refused(1, NOW)
    assert [circuit.admits(LATER) for _ in range(3)] == [True, False, False]


def test_an_accepted_client_lets_everybody_in():
    circuit = Circuit()
    circuit.client_refused(1, NOW)
    circuit.client_accepted()
    assert circuit.admits(NOW)


def test_the_next_secret_is_tried_before_the_circuit_opens():
    circuit = Circuit()
    assert circuit.client_refused(2, NOW)
    assert circuit.ordered(SECRETS).client_secrets == (Secret("old"), Secret("new"))
    assert circuit.admits(NOW)
    assert not circuit.client_refused(2, NOW)
    assert not circuit.admits(NOW)


def test_the_secret_that_works_stays_the_first():
    circuit = Circuit()
    circuit.client_refused(2, NOW)
    circuit.client_accepted()
    assert circuit.ordered(SECRETS).client_secrets[0] == Secret("old")


def test_no_secrets_have_no_order():
    circuit = Circuit()
    circuit.client_refused(0, NOW)
    assert circuit.ordered(ProviderSecrets()) == ProviderSecrets()
