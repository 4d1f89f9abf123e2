"""The one form in which weights and models are addressed: `stage:NAME`, `models:/NAME@ALIAS`, `file:PATH`, …"""

import re
from pathlib import Path

from orchestrator.pipeline.problems import listed, nearest

FILE_SCHEME = "file:"
REGISTRY_SCHEME = "models:/"

_FORMS: dict[str, tuple[re.Pattern[str], str]] = {
    "stage": (re.compile(r"[A-Za-z0-9_-]+"), "stage:NAME"),
    "models": (re.compile(r"/[^/@:]+(@[A-Za-z0-9_.-]+|/[0-9]+)"), "models:/NAME@ALIAS or models:/NAME/3"),
    "file": (re.compile(r".+"), "file:PATH"),
    "torchvision": (re.compile(r"[A-Za-z0-9_]+"), "torchvision:IMAGENET1K_V2"),
    "timm": (re.compile(r"[A-Za-z0-9_.]+"), "timm:resnet50.a1_in1k"),
    "yolox": (re.compile(r"[A-Za-z0-9_.-]+\.pth"), "yolox:yolox_s.pth"),
    "https": (re.compile(r"//[^/]+/.+"), "https://HOST/FILE"),
}
MODEL_SCHEMES = ("stage", "models", "file")
"""What a whole model may be addressed by; weights may use every scheme."""
WEIGHTS_SCHEMES = tuple(_FORMS)


def address_fault(address: str, schemes: tuple[str, ...]) -> str | None:
    """Say what is wrong with the form of `address`; None if it is well formed."""
    scheme, colon, rest = address.partition(":")
    if not colon or scheme not in schemes:
        forms = listed(_FORMS[name][1] for name in schemes)
        hint = nearest(scheme, schemes) if colon else ""
        return f"{address!r} is no address for this key; expected {forms}{hint}"
    pattern, form = _FORMS[scheme]
    return None if pattern.fullmatch(rest) else f"{address!r} is not of the form {form}"


def file_path(address: str, folder: Path) -> Path:
    """Return the absolute path behind `file:PATH` or `file:///PATH`; a relative one starts at `folder`."""
    text = address.removeprefix(FILE_SCHEME)
    text = re.sub(r"^//(?=/)", "", text)
    return absolute(Path(text), folder)


def absolute(path: Path, folder: Path) -> Path:
    """Return `path` as an absolute one; a relative one starts at `folder`, `~` is the user's home."""
    expanded = path.expanduser()
    return Path(folder, expanded).resolve()
