"""The plain side of `benchmarks.classification`: a loop in the manner of torchvision's reference script.

Run as `python -m benchmarks.classification_plain REQUEST`; prints one JSON line.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.classification_recipe import Recipe, build_loaders, build_network, build_optimizer, count_correct


def train_epoch(network: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer, losses: list[float]) -> None:
    """One pass; keeps the running loss that such scripts print."""
    network.train()
    for images, labels in loader:
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())


@torch.inference_mode()
def accuracy(network: nn.Module, loader: DataLoader) -> float:
    """Top-1 over the test split."""
    network.eval()
    correct = total = 0
    for images, labels in loader:
        with torch.autocast("cpu", torch.bfloat16):
            correct += count_correct(network(images), labels)
        total += len(labels)
    return correct / total


def main() -> None:
    recipe = Recipe(**json.loads(sys.argv[1]))
    network = build_network(recipe)
    train, test = build_loaders(recipe)
    optimizer = build_optimizer(recipe, network)
    total_steps = recipe.epochs * len(train)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    epoch_s, epoch_cpu_s, losses = [], [], []
    for _ in range(recipe.epochs):
        started, cpu_started = time.perf_counter(), time.process_time()
        train_epoch(network, train, optimizer, losses)
        schedule.step()
        epoch_s.append(time.perf_counter() - started)
        epoch_cpu_s.append(time.process_time() - cpu_started)
    assert len(losses) == total_steps
    answer = {"epoch_s": epoch_s, "epoch_cpu_s": epoch_cpu_s, "steps_per_epoch": len(train)}
    print(json.dumps({**answer, "top1": accuracy(network, test)}))


if __name__ == "__main__":
    main()
