"""What classifiers there are: every backbone with its own head. `orchestrator zoo` shows this list."""

from typing import Any

from vision.backbones.zoo import list_backbones


def list_models() -> list[dict[str, Any]]:
    """List every classifier, and last what stands for any other of timm's.

    Returns:
        Per model, JSON-able: `name`, `source`, `sizes` (none: a size is a name of its own), `backbone`, `papers`,
        `weights` (URIs that fit), and `parameters` under `default` where they can be counted.
    """
    return [
        {
            "name": row["name"],
            "source": row["source"],
            "sizes": [],
            "backbone": "its own",
            "papers": row["papers"],
            "weights": row["weights"],
            "parameters": {} if row["parameters"] is None else {"default": row["parameters"]},
        }
        for row in list_backbones()
    ]
