"""`hurried.py FACTOR ARGUMENTS`: the command line, with the workers' own waits so many times shorter.

Leases, time-outs and takeovers keep their proportions, and a test of them takes seconds instead of minutes.
"""

import sys
from types import ModuleType

from dispenser.__main__ import main
from dispenser.cli import work
from shared.adapters import provider_http


def hurry(module: ModuleType, factor: float) -> None:
    for name, value in vars(module).items():
        if name.endswith("_SECONDS") and isinstance(value, float):
            setattr(module, name, value / factor)


if __name__ == "__main__":
    assert work  # has loaded every worker
    factor = float(sys.argv.pop(1))
    for module in [provider_http, *(m for name, m in sys.modules.items() if name.startswith("workers."))]:
        hurry(module, factor)
    main()
