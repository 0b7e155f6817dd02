import pytest

from shared.adapters.topic import topic_matches


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("credential.refreshed", "credential.refreshed", True),
        ("credential.refreshed", "credential.revoked", False),
        ("credential.*", "credential.revoked", True),
        ("credential.*", "credential", False),
        ("credential.*", "credential.a.b", False),
        ("credential.#", "credential", True),
        ("credential.#", "credential.a.b", True),
        ("#", "token.denied", True),
        ("#.denied", "token.denied", True),
        ("#.denied", "token.issued", False),
        ("*.#.end", "a.b.c.end", True),
        ("*.#.end", "end", False),
    ],
)
def test_a_pattern_matches_word_by_word(pattern, key, expected):
    assert topic_matches(pattern, key) is expected
