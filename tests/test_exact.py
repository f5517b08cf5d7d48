"""The gradient is a function of the effective batch alone; the evaluation loss is a function of
the rows alone. For every task of the table.
"""
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import CASES
from conftest import alike
from safetensors.torch import load_file
from torch.nn.functional import pad

from sft_nb.evaluation.judging import evaluate
from sft_nb.tasks.table import ALL, ImageClassification, ObjectDetection, TextRegression
from sft_nb.training.gradient import effective_gradient
from toy_detection import ToyDetection

HERE = Path(__file__).parent


@pytest.fixture(params=CASES, ids=lambda name: name.replace(" ", "-"))
def case(request):
    return CASES[request.param]


def gradient(task, model, pieces):
    "One long vector over all parameters, zeros where there is no gradient."
    effective_gradient(task, model, pieces)
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters()]
    ).double()


def apart(a, b):
    return ((a - b).norm() / b.norm()).item()


def test_every_task_of_the_table_is_here():
    assert {type(c.task) for c in CASES.values()} >= set(ALL), (
        "add a line to CASES in tests/cases.py"
    )


@pytest.mark.parametrize("cuts", [1, 2, 4, 8])
def test_gradient_does_not_depend_on_the_cut(case, tiny, cuts):
    """Neighbouring rows together, and every cuts-th row together:

    other companions, so other padding.
    """
    task, model, processor = case.begin(tiny)
    examples = task.encode_all(case.rows.head(8), processor)
    whole = gradient(task, model, [task.collate(examples, processor)])
    assert whole.norm() > 0
    size = 8 // cuts
    for pieces in (
        [examples[i : i + size] for i in range(0, 8, size)],
        [examples[i::cuts] for i in range(cuts)],
        [examples[:1], examples[1:]],
    ):
        cut = gradient(task, model, [task.collate(p, processor) for p in pieces])
        assert apart(cut, whole) <= 1e-6, len(pieces)


PICTURES = (ImageClassification, ObjectDetection, ToyDetection)  # of one size, without pads


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if not isinstance(c.task, PICTURES)])
def test_gradient_does_not_depend_on_padding(name, tiny):
    "Nine columns of pads at the end of every tensor that has columns."
    case = CASES[name]
    task, model, processor = case.begin(tiny)
    batch = task.collate(task.encode_all(case.rows.head(8), processor), processor)
    whole, fill = gradient(task, model, [batch]), {"input_ids": processor.pad_token_id}
    batch.inputs = {k: pad(v, (0, 9), value=fill.get(k, 0)) for k, v in batch.inputs.items()}
    if task.per_token:
        batch.targets = {k: pad(v, (0, 9), value=-100) for k, v in batch.targets.items()}
    assert apart(gradient(task, model, [batch]), whole) <= 1e-6


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if "detection" in c.task.name])
def test_rows_without_any_weight_are_harmless(name, tiny):
    """A piece whose rows have no box weighs nothing in the box term, and is still there in the
    other.
    """
    case = CASES[name]
    task, model, processor = case.begin(tiny)
    rows = case.rows.sort_values("boxes", key=lambda b: b.map(len))
    examples = task.encode_all(rows, processor)
    without = int((rows.boxes.map(len) == 0).sum())
    assert 2 <= without < len(rows)
    whole = gradient(task, model, [task.collate(examples, processor)])
    assert (
        apart(
            gradient(
                task,
                model,
                [
                    task.collate(examples[:without], processor),
                    task.collate(examples[without:], processor),
                ],
            ),
            whole,
        )
        <= 1e-6
    )
    assert gradient(task, model, [task.collate(examples[:without], processor)]).isfinite().all()


def test_a_mean_per_micro_batch_would_be_seen(tiny):
    "The test can fail: the usual average of means is far from the gradient of the batch."
    case = CASES["text classification"]
    task, model, processor = case.begin(tiny)
    examples = task.encode_all(case.rows.head(8), processor)
    whole = gradient(task, model, [task.collate(examples, processor)])
    means = [
        gradient(task, model, [task.collate(p, processor)]) for p in (examples[:7], examples[7:])
    ]
    assert apart(sum(means) / 2, whole) > 0.1


def test_evaluation_loss_does_not_depend_on_the_batch_size(case, tiny):
    task, model, processor = case.begin(tiny)
    whole = evaluate(task, model, processor, case.rows, batch_size=64)
    for size in (1, 3, 8):
        cut = evaluate(task, model, processor, case.rows, batch_size=size)
        assert cut.loss == pytest.approx(whole.loss, rel=1e-6), size
        assert alike(cut.predictions, whole.predictions), size
        if isinstance(case.task, TextRegression):
            # numbers may differ in a last digit; the correlations of an untrained model's answers,
            # nearly all the same, magnify it
            steady = [k for k in whole.metrics if not k.startswith(("pearson", "spearman"))]
            ours, theirs = ([found.metrics[k] for k in steady] for found in (cut, whole))
            assert steady and ours == pytest.approx(theirs, rel=1e-5, abs=1e-6), size
        else:
            assert cut.metrics == pytest.approx(whole.metrics, rel=0, abs=0, nan_ok=True), size


@pytest.fixture(scope="module")
def by_ranks(tiny, tmp_path_factory):
    "Gradients of all cases, computed by one process and by two, in one launch each."
    out = tmp_path_factory.mktemp("ranks")
    folders = [f"{name}={CASES[name].folder(tiny)}" for name in CASES]
    for n in (1, 2):
        done = subprocess.run(
            [
                sys.executable, "-m", "torch.distributed.run", "--standalone",
                "--nproc-per-node", str(n), HERE / "rank_gradients.py",
                out / f"{n}.safetensors", *folders,
            ],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    return load_file(out / "1.safetensors"), load_file(out / "2.safetensors")


@pytest.mark.parametrize("name", CASES, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("share", ["5+3", "8+0"])
def test_gradient_does_not_depend_on_the_ranks(by_ranks, name, share):
    one, two = (g[f"{name}, {share}"] for g in by_ranks)
    assert one.norm() > 0 and apart(two, one) <= 1e-6
