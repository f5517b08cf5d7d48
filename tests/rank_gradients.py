"""Launched on one rank or two by test_exact.py, and with a shared model by test_shards.py:

the gradient of eight rows of every case, with unequal shares.
"""
import sys
from pathlib import Path

import torch
from cases import CASES
from safetensors.torch import save_file

from sft_nb.batches.ranks import ranks
from sft_nb.batches.shards import all_of, to_hold
from sft_nb.training.gradient import effective_gradient

out, folders = sys.argv[1], dict(a.split("=", 1) for a in sys.argv[2:])
found = {}
for name, folder in folders.items():
    task, model, processor = CASES[name].begin(lambda _, f=folder: Path(f))
    model = to_hold().place(model, ranks().device)
    examples = task.encode_all(CASES[name].rows.head(8), processor)
    for share, first in {"5+3": 5, "8+0": 8}.items():
        mine = (
            examples
            if ranks().num_processes == 1
            else [examples[:first], examples[first:]][ranks().process_index]
        )
        effective_gradient(task, model, [task.collate(mine, processor)] if mine else [])
        found[f"{name}, {share}"] = torch.cat(
            [
                (torch.zeros(p.shape) if p.grad is None else all_of(p.grad)).flatten()
                for p in model.parameters()
            ]
        ).double()
if ranks().is_main_process: save_file(found, out)
ranks().wait_for_everyone()
