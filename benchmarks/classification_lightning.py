"""The Lightning side of `benchmarks.classification`; runs with the interpreter of Lightning's own environment.

Run as `python -m benchmarks.classification_lightning REQUEST`; prints one JSON line.
"""

import json
import logging
import sys
import tempfile
import time
import warnings
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.classification_recipe import Recipe, build_loaders, build_network, build_optimizer, count_correct


class Module(lightning.LightningModule):
    """The network as Lightning wants it, with its loss logged as its users do."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.network = build_network(recipe)
        self.epoch_s: list[float] = []
        self.epoch_cpu_s: list[float] = []
        self.correct = self.total = 0
        self.started = self.cpu_started = 0.0

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, labels = batch
        loss = F.cross_entropy(self.network(images.contiguous(memory_format=torch.channels_last)), labels)
        self.log("loss", loss)
        return loss

    def on_train_epoch_start(self) -> None:
        self.started, self.cpu_started = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self) -> None:
        self.epoch_s.append(time.perf_counter() - self.started)
        self.epoch_cpu_s.append(time.process_time() - self.cpu_started)

    def test_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        images, labels = batch
        self.correct += count_correct(self.network(images), labels)
        self.total += len(labels)

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.recipe, self.network)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.recipe.epochs)]


def main() -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    recipe = Recipe(**json.loads(sys.argv[1]))
    module = Module(recipe)
    train, test = build_loaders(recipe)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            precision="bf16-mixed",
            max_epochs=recipe.epochs,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(module, train)
        trainer.test(module, test, verbose=False)
    answer = {"epoch_s": module.epoch_s, "epoch_cpu_s": module.epoch_cpu_s, "steps_per_epoch": len(train)}
    print(json.dumps({**answer, "top1": module.correct / module.total}))


if __name__ == "__main__":
    main()
