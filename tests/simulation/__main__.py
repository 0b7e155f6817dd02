"""Replays one seed and tells all that happened: `make replay SEED=42`."""

import sys

from simulation.checker import violations
from simulation.history import line
from simulation.plan import plan
from simulation.simulation import run


def main(seed: int) -> int:
    """Print a seed's plan, its history, and the promises it breaks. Return how many those are."""
    history = run(seed, tell_all=True)
    found = violations(history)
    print(plan(seed), *map(line, history.events), *found, sep="\n")
    print(f"seed {seed}: {len(found)} violations")
    return len(found)


if __name__ == "__main__":
    sys.exit(min(1, main(int(sys.argv[1]))))
