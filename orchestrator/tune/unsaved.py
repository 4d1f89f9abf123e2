"""What Ray Tune may hold, and not keep."""

from typing import Any


class Unsaved:
    """Ray Tune pickles what it is given, for a recovery that the ledger takes care of here."""

    def __getstate__(self) -> dict[str, Any]:
        return {}
