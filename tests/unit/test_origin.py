"""Where the tests' servers come from is told first, and a missing one is never passed over in silence."""

import dataclasses

import pytest
from services.origin import Origin

NOTHING = Origin(name="redis", given=None, docker=False, binary=None, package=None)


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (
            {"given": "redis://:s3cret@host/0", "docker": True},
            "redis: the one that DISPENSER_TEST_REDIS_URL names",
        ),
        ({"docker": True, "binary": "/bin/redis-server"}, "redis: a container, when a test asks for it"),
        ({"binary": "/bin/redis-server"}, "redis: a private /bin/redis-server, when a test asks for it"),
        (
            {"package": "redis-server"},
            "redis: NOT HERE, apt-get WILL INSTALL redis-server when a test asks for it",
        ),
    ],
)
def test_the_header_tells_the_best_there_is(there, told):
    origin = dataclasses.replace(NOTHING, **there)
    assert origin.describe() == told
    assert not origin.missing


def test_a_missing_server_is_shouted_with_its_remedy():
    assert NOTHING.missing
    assert "NONE, TESTS THAT NEED IT ARE SKIPPED; set DISPENSER_TEST_REDIS_URL" in NOTHING.describe()


def test_a_server_that_was_given_cannot_be_started_so_it_cannot_be_killed():
    assert not dataclasses.replace(NOTHING, given="redis://host/0").can_start
