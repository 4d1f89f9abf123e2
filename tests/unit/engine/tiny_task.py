"""A task of four numbers a sample, for tests of the loop: deterministic, with dropout and a running statistic."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.catalog import TaskEntry
from engine.sampling import derive_seed
from engine.task import SampleKey, TaskSpec

ENTRY = TaskEntry(
    settings="",
    task="tests.unit.engine.tiny_task:TinyTask",
    predictor="",
    report="",
    preview="",
    zoo="",
    main_metric="accuracy",
)


@dataclass
class TinyBatch:
    x: Tensor
    y: Tensor
    sample_ids: tuple[int, ...]
    share: float = 1.0
    step_share: float = 1.0
    step_key: int = 0

    def to(self, device: torch.device) -> "TinyBatch":
        return replace(self, x=self.x.to(device), y=self.y.to(device))

    def pin_memory(self) -> "TinyBatch":
        return self


class TinyDataset:
    def __init__(self, count: int, train: bool) -> None:
        self.count, self.train = count, train

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: SampleKey) -> tuple[int, Tensor, float]:
        x, target = _features(key.sample_id), _target(key.sample_id)
        if self.train:
            noise = torch.Generator().manual_seed(derive_seed(key.epoch, key.sample_id, key.occurrence))
            x = x + 0.1 * torch.randn(4, generator=noise)
        return key.sample_id, x, target

    def sample_labels(self) -> list[np.ndarray]:
        return [np.array([int(_target(sample_id))]) for sample_id in range(self.count)]


def _features(sample_id: int) -> Tensor:
    return torch.randn(4, generator=torch.Generator().manual_seed(sample_id))


def _target(sample_id: int) -> float:
    return float(_features(sample_id).sum() > 0)


class TinyMetric:
    def __init__(self) -> None:
        self.hits: dict[int, bool] = {}

    def update(self, predictions: Sequence[Any]) -> None:
        for sample_id, hit in predictions:
            assert sample_id not in self.hits
            self.hits[sample_id] = hit

    def state(self) -> dict[int, bool]:
        return self.hits

    def merge(self, states: Sequence[dict[int, bool]]) -> None:
        self.hits = {key: value for state in states for key, value in state.items()}

    def compute(self) -> dict[str, float]:
        return {"accuracy": sum(self.hits.values()) / len(self.hits), "count": float(len(self.hits))}


class TinyTask:
    classes = ("no", "yes")

    def __init__(self, spec: TaskSpec) -> None:
        self.settings = spec.settings

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))

    def build_dataset(self, split: str, train: bool) -> TinyDataset:
        return TinyDataset(self.settings.get("count", 37), train)

    def collate(self, samples: Sequence[tuple[int, Tensor, float]]) -> TinyBatch:
        ids, xs, ys = zip(*samples, strict=True)
        return TinyBatch(torch.stack(xs), torch.tensor(ys), tuple(ids))

    def losses(self, model: nn.Module, batch: TinyBatch) -> dict[str, Tensor]:
        if batch.step_key == self.settings.get("nan_at_step"):
            return {"loss_cls": model(batch.x).sum() * float("nan")}
        logits = model(batch.x)[:, 0]
        return {"loss_cls": nn.functional.binary_cross_entropy_with_logits(logits, batch.y) * batch.share}

    def predict(self, model: nn.Module, batch: TinyBatch) -> list[tuple[int, bool]]:
        hits = (model(batch.x)[:, 0] > 0) == (batch.y > 0)
        return list(zip(batch.sample_ids, hits.tolist(), strict=True))

    def build_metric(self, split: str) -> TinyMetric:
        return TinyMetric()

    def preprocessing(self) -> dict[str, Any]:
        return {}

    def notes(self) -> list[str]:
        return list(self.settings.get("notes", []))
