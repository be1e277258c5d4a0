"""Memory of training on a large feature file: a few batches, whatever the size of the file."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

PROGRAM = """
    import sys
    from pathlib import Path

    import numpy as np
    import torch

    from robustcmr.data.captions import TokenTable
    from robustcmr.data.in_memory_features import InMemoryFeatures
    from robustcmr.data.pairs import TrainingPairs
    from robustcmr.data.placement import MemoryBudget
    from robustcmr.data.store import NpyFeatures
    from robustcmr.matchers.embeddings import Embeddings
    from robustcmr.training.batches import EpochBatches, step_ids
    from robustcmr.training.scorer import TrainingSetScorer
    from robustcmr.types import Correspondence, DataSpec, EpochPlan

    def status(key):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(key)) >> 10

    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    store = NpyFeatures(Path(sys.argv[1]))
    n = store.shape[0]
    table = TokenTable(np.full(n, 3, np.int32), np.arange(n + 1))
    given = Correspondence(np.random.default_rng(0).permutation(n), n)
    pairs = TrainingPairs(store, table, given, None).placed("disk", False, MemoryBudget(cpu, 2**40, 2**40, 0))
    assert not isinstance(pairs.images, InMemoryFeatures)
    spec = DataSpec(feature_width=store.shape[2], n_regions=36, vocabulary_size=5, longest_caption=1)
    matcher = Embeddings(Embeddings.Config(dim=8), spec)
    before = status("VmRSS")
    steps = step_ids(EpochPlan({"all": np.arange(n)}), 32, 0, 0)
    for batches in EpochBatches(pairs, steps, 0, 0).from_step(0, 0):
        matcher(batches["all"].images, batches["all"].texts).sum().backward()
    trained = status("VmHWM")
    TrainingSetScorer(pairs, 32, cpu, 0, 0)(lambda scores, _: scores.diagonal(), matcher)
    print(n, trained - before, status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak like this")
def test_training_and_division_hold_some_batches_of_a_large_file(tmp_path):
    path, rows = tmp_path / "train_ims.npy", 1500
    with path.open("wb") as file:  # a hole: it takes no disk, and reads as zeros
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, 36, 2048)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + rows * 36 * 2048 * 4)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    n, trained, divided = (int(word) for word in done.stdout.split())
    assert n == rows
    assert trained <= 150  # a batch is 9 MiB; the file has 422
    assert divided <= 150
