"""Which new documents of a simulated ERP meet somebody else's lock at first."""


class Locks:
    """every: each such document, by the number of its first request; 0: none."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._met: set[str] = set()
        self._first_requests = 0

    def meets(self, key: str) -> bool:
        """key: what tells a document's repeated request from a new one. Once a document at most."""
        if not self._every or key in self._met:
            return False
        self._first_requests += 1
        if self._first_requests % self._every:
            return False
        self._met.add(key)
        return True
