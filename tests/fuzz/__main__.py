"""`python -m fuzz ENTRY SECONDS`: atheris on one entry, from its seeds; a finding ends it and is kept there.

What it learns meanwhile goes to build/fuzz/ENTRY; `make fuzz` runs every entry for a minute.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dispenser", "shared", "workers", "yaml"]):
    from fuzz.entries import ENTRIES, SEEDS

CORPUS = Path("build") / "fuzz"
#: Longer than any frame: what is beyond is refused by its length alone.
MAX_BYTES = 20_000


def main() -> None:
    name, seconds = sys.argv[1:]
    learned = CORPUS / name
    learned.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}", "-timeout=10", "-rss_limit_mb=1024"]
    findings = f"-artifact_prefix={SEEDS / name}/found-"
    atheris.Setup(
        [sys.argv[0], *options, findings, "-print_final_stats=1", str(learned), str(SEEDS / name)],
        ENTRIES[name],
    )
    atheris.Fuzz()


main()
