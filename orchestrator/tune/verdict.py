"""What an error says of a trial: that its values cannot work, or that something else went wrong."""

import torch
from pydantic import ValidationError

from foundation.errors import NonFiniteLossError, OrchestratorError

OUT_OF_MEMORY = (
    *("out of memory", "too little memory", "insufficient memory"),
    *("can't allocate memory", "cannot allocate memory", "failed to allocate"),
)


def verdict(error: Exception) -> tuple[str, str]:
    """Say whether a trial's values cannot work (`pruned`) or something went wrong (`failed`), and why."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"] if "-" not in str(part) and "[" not in str(part))
        return "pruned", f"these values do not fit together: {key}: {first['msg']}".removesuffix(".")
    text = str(error).strip()
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in text.lower() for words in OUT_OF_MEMORY):
        return "pruned", f"out of memory: {text.splitlines()[0][:200] if text else type(error).__name__}"
    if isinstance(error, NonFiniteLossError):
        return "pruned", text
    return "failed", text if isinstance(error, OrchestratorError) else f"{type(error).__name__}: {text}"
