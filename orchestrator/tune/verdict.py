"""What an error says of a trial: that its values cannot work, or that something else went wrong."""

import re

from pydantic import ValidationError

from engine.failures import is_out_of_memory
from foundation.errors import ConfigError, NonFiniteLossError, OrchestratorError

OUT_OF_MEMORY = (
    *("out of memory", "too little memory", "insufficient memory"),
    *("can't allocate memory", "cannot allocate memory", "failed to allocate"),
)
ENDED_BY_RAY = ("NODE_OUT_OF_MEMORY", "running low on memory")
"""Ray's own words, where it ended a process before the machine ran out of memory."""
PYTHON_ERROR = re.compile(r"^\w+(?:Error|Exception): .+", re.MULTILINE)
MAX_REASON = 200
ALLOCATORS_WORDS = re.compile(
    r"\w*Error: |\[enforce fail at [^\]]*\] (err == 0\. )?|DefaultCPUAllocator: can't allocate memory: |\. Error code.*"
)


def verdict(error: Exception) -> tuple[str, str]:
    """Say whether a trial's values cannot work (`pruned`) or something went wrong (`failed`), and why."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"] if "-" not in str(part) and "[" not in str(part))
        return "pruned", f"these values do not fit together: {key}: {first['msg']}".removesuffix(".")
    text = str(error).strip()
    if is_out_of_memory(error) or any(words in text.lower() for words in OUT_OF_MEMORY):
        first_line = ALLOCATORS_WORDS.sub("", text.splitlines()[0]) if text else type(error).__name__
        return "pruned", f"out of memory: {first_line[:MAX_REASON]}"
    if isinstance(error, NonFiniteLossError | ConfigError):
        return "pruned", text.removesuffix(".")
    if isinstance(error, OrchestratorError):
        return "failed", text.removesuffix(".")
    return "failed", f"{type(error).__name__}: {text}"


def verdict_on_death(text: str) -> tuple[str, str]:
    """Say the same of a trial whose process died; `text` is what Ray says of it."""
    if any(words in text for words in ENDED_BY_RAY):
        return "pruned", "out of memory: Ray ended its process before the machine had none left"
    if "exits with a connection error" in text:
        return "failed", "its process died: it crashed or was killed, perhaps by the kernel for want of memory"
    said = PYTHON_ERROR.findall(text) or text.strip().splitlines() or ["for no known reason"]
    return "failed", f"its process died: {said[-1][:MAX_REASON]}"
