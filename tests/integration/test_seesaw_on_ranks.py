"""Two ranks with unequal parts of the proposals count and lose what one process with all of them does."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
RANK = """
import sys, torch, torch.distributed as dist
from detection.class_losses import BoxHeadLoss
from detection.loss_settings import SeesawSettings

rank, folder = int(sys.argv[1]), sys.argv[2]
generator = torch.Generator().manual_seed(0)
logits, labels = torch.randn(2, 9, 4, generator=generator), torch.randint(4, (2, 9), generator=generator)

def run(part):
    loss = BoxHeadLoss(SeesawSettings(name="seesaw"), 3)
    sums = [loss(logits[step, part], labels[step, part]) * len(labels[step, part]) for step in range(2)]
    return loss.accumulated_counts, torch.stack(sums)

counts, alone = run(slice(0, 9))
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
own_counts, own = run(slice(0, 2) if rank == 0 else slice(2, 9))
dist.all_reduce(own)
torch.testing.assert_close(own, alone)
assert counts.sum() > 0 and own_counts.equal(counts), (own_counts, counts)
dist.destroy_process_group()
"""


def test_seesaw_counts_the_proposals_of_all_ranks(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], errors
