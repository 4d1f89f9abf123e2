"""What the `data` commands say, as text for a terminal."""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from orchestrator.text_table import aligned, cell

CLASS_COLUMNS = ("objects", "images", "small", "medium", "large")
SPREADS = {
    "objects_per_image": "objects per image",
    "box_width_px": "box width (px)",
    "box_height_px": "box height (px)",
    "aspect_ratio": "width / height",
}
INDENT = "  "


def verdict(num_faults: int, num_refused: int, num_left_out: int) -> str:
    """Return the last line of `data check`.

    Args:
        num_faults: of all kinds.
        num_refused: those because of which training would not start.
        num_left_out: those that `on_error: quarantine` lets training leave out.
    """
    if not num_faults:
        return "no faults"
    parts = [f"{num_faults} fault{'s' if num_faults > 1 else ''}"]
    if num_refused:
        parts.append(f"training refuses {num_refused} of them: mend the files, or set `on_error: quarantine`")
    if num_left_out:
        parts.append(f"training leaves {num_left_out} of them out, as `on_error: quarantine` says")
    if not num_refused and not num_left_out:
        parts.append("training goes on with them")
    return "; ".join(parts)


def kinds_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Return how many faults there are of each kind and data set, those that training refuses first."""
    counts = Counter((fault["data"], fault["kind"], fault["is_fatal"]) for fault in found)
    rows = [
        [data, kind, str(count), "fault" if is_fatal else "reported only"]
        for (data, kind, is_fatal), count in sorted(
            counts.items(), key=lambda item: (item[0][0], not item[0][2], item[0][1])
        )
    ]
    return aligned(("data", "kind", "count", ""), rows)


def converted_text(title: str, written: Mapping[str, Any]) -> str:
    """Return what `data convert` wrote and left out, and the settings to use it with."""
    rows = [[name, str(numbers["images"]), str(numbers["objects"])] for name, numbers in written["splits"].items()]
    lost = [f"left out: {count} {reason}" for reason, count in written["lost"].items()]
    return _with_settings(title, written, [aligned(("split", "images", "objects"), rows), *lost])


def dealt_text(title: str, dealt: Mapping[str, Any]) -> str:
    """Return what `data split` dealt into each split, and the settings to use it with."""
    classes = dealt["data"]["classes"]
    rows = [
        [name, str(part["images"]), str(part["groups"]), *(str(part["classes"][key]) for key in classes)]
        for name, part in dealt["splits"].items()
    ]
    alone = dealt["without_group"]
    notes = [f"--group matches not the names of {alone} images; each of them is a group of its own"] if alone else []
    return _with_settings(title, dealt, [aligned(("split", "images", "groups", *classes), rows), *notes])


def _with_settings(title: str, written: Mapping[str, Any], parts: Sequence[str]) -> str:
    faulty = [f"left out: {written['faulty']} faulty images and boxes"] if written["faulty"] else []
    settings = yaml.safe_dump({"data": {title: written["data"]}}, sort_keys=False, allow_unicode=True).rstrip()
    return "\n\n".join([*parts, *faulty, f"wrote {written['data']['root']}; in a pipeline file:\n\n{settings}"])


def stats_text(name: str, counted: Mapping[str, Any]) -> str:
    """Return the counts of a data set (see `vision.formats.stats`) as short tables, one pair for each split."""
    classes = counted["classes"]
    head = f"{name}: {counted['format']}, {len(classes)} class{'es' if len(classes) != 1 else ''}: {', '.join(classes)}"
    splits = [_split_text(split, numbers) for split, numbers in counted["splits"].items()]
    return "\n\n".join([head, *(textwrap.indent(text, INDENT) for text in splits)])


def _split_text(name: str, split: Mapping[str, Any]) -> str:
    """Return the line of a split, and its tables below."""
    sizes = [f"{size['width']} x {size['height']}" for size in split["image_sizes"]]
    of_size = f" of {sizes[0]} pixels" if len(sizes) == 1 else " of several sizes" if sizes else ""
    head = f"{name}: {split['images']} images{of_size}{_objects(split)}"
    left_out = ", ".join(f"{count} {kind}" for kind, count in split["faults"].items())
    parts = [_classes_table(split["classes"]), _spreads_table(split), f"left out: {left_out}" if left_out else ""]
    return "\n\n".join([head, *(textwrap.indent(part, INDENT) for part in parts if part)])


def _objects(split: Mapping[str, Any]) -> str:
    """Return what the line of a split says of objects; nothing for a data set that has labels only."""
    if "objects" not in split:
        return ""
    crowds = f", {split['crowd_objects']} of them crowds" if split["crowd_objects"] else ""
    return f", {split['images_without_objects']} without objects; {split['objects']} objects{crowds}"


def _classes_table(classes: Mapping[str, Mapping[str, int]]) -> str:
    known = next(iter(classes.values()), {})
    columns = [column for column in CLASS_COLUMNS if column in known]
    rows = [[name, *(str(counts[column]) for column in columns)] for name, counts in classes.items()]
    return aligned(("class", *columns), rows)


def _spreads_table(split: Mapping[str, Any]) -> str:
    spreads = {title: split[key] for key, title in SPREADS.items() if split.get(key)}
    if not spreads:
        return ""
    columns = list(next(iter(spreads.values())))
    return aligned(
        ("", *columns), [[title, *(cell(spread[key]) for key in columns)] for title, spread in spreads.items()]
    )
