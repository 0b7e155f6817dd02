class Refusal(Exception):
    """The provider says no, with a code of RFC 6749 §4.1.2.1 or §5.2."""

    def __init__(self, code: str, description: str, *, status: int = 400, outcome: str = "") -> None:
        self.code = code
        self.description = description
        self.status = status
        #: What the journal notes, where it tells more than the client is told.
        self.outcome = outcome or code
        super().__init__(f"{code}: {description}")
