"""Where in the file to look when a stage cannot do what its settings ask for, which only its run finds out."""

import re

from foundation.errors import UserError
from orchestrator.pipeline.load import LoadedPipeline
from orchestrator.pipeline.problems import KeyPath, dotted
from orchestrator.pipeline.source import parse

KEYS = re.compile(r"[a-z][a-z0-9]*(?:[._][a-z0-9]+)+")
"""What may be a key path in a message: words joined by dots or underscores."""


def located(error: UserError, loaded: LoadedPipeline, stage: str) -> UserError:
    """Return the error with the file, the line and the key path that it is about before its message.

    The key is the first one that the message names and the stage has in the file; else the stage itself. Data sets say
    themselves where they stand.
    """
    text = str(error)
    source = parse(loaded.text, str(loaded.path))
    known = [("stages", stage, *word.split(".")) for word in KEYS.findall(text)]
    path: KeyPath = next((path for path in known if path in source.lines), ("stages", stage))
    within = dotted(path[2:])
    if within and text.startswith(f"{within}:"):
        text = text.removeprefix(f"{within}:").strip()
    key = "" if text.startswith(dotted(path)) else f"{dotted(path)}: "
    return type(error)(f"{loaded.path}:{source.line(path)}: {key}{text}")
