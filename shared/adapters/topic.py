from collections.abc import Sequence


def topic_matches(pattern: str, key: str) -> bool:
    """A topic exchange's rule: `*` is one word, `#` any number of them (AMQP 0-9-1 §3.1.3.3)."""
    return _matches(pattern.split("."), key.split("."))


def _matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(_matches(rest, words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and first in ("*", words[0]) and _matches(rest, words[1:])
