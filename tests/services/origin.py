"""Where each server comes from: a given address, Docker, this machine's programs, Debian's packages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Name = Literal["rabbitmq", "redis", "postgresql"]
NAMES: tuple[Name, ...] = ("rabbitmq", "redis", "postgresql")
VARIABLES: Mapping[Name, str] = {
    "rabbitmq": "DISPENSER_TEST_AMQP_URL",
    "redis": "DISPENSER_TEST_REDIS_URL",
    "postgresql": "DISPENSER_TEST_DATABASE_URL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What there is of one server, best first."""

    name: Name
    #: An address somebody gave: used as it is, never stopped.
    given: str | None
    docker: bool
    binary: str | None
    #: The Debian package that brings it, where it may be installed.
    package: str | None

    @property
    def can_start(self) -> bool:
        """Whether a server of the tests' own can be had: one that may be killed."""
        return bool(self.docker or self.binary or self.package)

    @property
    def missing(self) -> bool:
        return self.given is None and not self.can_start

    def describe(self) -> str:
        """A line for the report's header."""
        if self.given is not None:
            # The address itself may hold a password.
            return f"{self.name}: the one that {VARIABLES[self.name]} names"
        if self.docker:
            return f"{self.name}: a container, when a test asks for it"
        if self.binary:
            return f"{self.name}: a private {self.binary}, when a test asks for it"
        if self.package:
            return f"{self.name}: NOT HERE, apt-get WILL INSTALL {self.package} when a test asks for it"
        return f"{self.name}: NONE, TESTS THAT NEED IT ARE SKIPPED; {self.remedy()}"

    def remedy(self) -> str:
        return f"set {VARIABLES[self.name]}, start Docker or install {self.name}-server"
