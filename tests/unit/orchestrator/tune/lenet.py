"""The smallest train stage that a search can stand on."""

from typing import Any

LENET: dict[str, Any] = {
    "kind": "train",
    "task": "classification",
    "data": "digits",
    "model": {"name": "lenet5"},
    "image_size": [32, 32],
    "augment": {"preset": "none"},
    "loop": {"epochs": 4, "optimizer": {"name": "sgd"}},
}
