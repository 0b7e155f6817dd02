import re

from dispenser.cli.failure import Usage

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds(text: str, option: str, *, longest: int) -> int:
    """What `90s`, `15m` or `1h` is. Raises: Usage."""
    parts = re.fullmatch(r"(\d{1,6})([smh]?)", text)
    found = int(parts[1]) * _UNITS[parts[2]] if parts else 0
    if not 0 < found <= longest:
        raise Usage(f"{option} {text}: write it like 90s, 15m or 1h, up to {longest // 3600}h.")
    return found
