"""Two ranks with unequal parts of a batch learn what one process with the whole batch learns."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
RANK = """
import sys, torch, torch.distributed as dist
from torch import nn
from pydantic import TypeAdapter
from classification.models.classifier import Classifier, LinearHead
from engine.distributed import gather_rows, sum_over_ranks
from vision.losses.build import build_loss
from vision.losses.settings import LossSettings

rank, folder = int(sys.argv[1]), sys.argv[2]
images = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
labels = torch.tensor([0, 0, 1, 0, 1])

def run(name, part, share, **collectives):
    torch.manual_seed(1)
    settings = TypeAdapter(LossSettings).validate_python({"name": name, "weight": 0.5})
    parts = build_loss(settings, 2, [3, 2], 4, **collectives)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    model = Classifier(network, parts, head=LinearHead(4, 2)).train()
    for _ in range(2):  # the second step sees centres that the first one moved
        model.zero_grad()
        losses = model(images[part], {"labels": labels[part]})
        sum(v * (1.0 if n in model.terms_over_ranks else share) for n, v in losses.items()).backward()
    return model

names = ("center", "contrastive", "triplet")
alone = [run(name, slice(0, 5), 1.0) for name in names]
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
mine = slice(0, 2) if rank == 0 else slice(2, 5)
for name, expected in zip(names, alone, strict=True):
    model = run(name, mine, (mine.stop - mine.start) * 2 / 5, reduce=sum_over_ranks, gather=gather_rows)
    for own, whole in zip(model.parameters(), expected.parameters(), strict=True):
        dist.all_reduce(own.grad)
        torch.testing.assert_close(own.grad / 2, whole.grad)
    for own, whole in zip(model.buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(own, whole)
dist.destroy_process_group()
"""


def test_terms_on_embeddings_see_the_images_of_all_ranks(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=60)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], errors
