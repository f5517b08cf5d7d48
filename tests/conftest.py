"""Options and small models shared by the tests."""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import functools

import hypothesis
import pytest
from tiny_models import SENTENCES, make

# the same examples in every run, on machines of any speed
hypothesis.settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser):
    parser.addoption(
        "--slow", action="store_true", help="also run what takes minutes or the network"
    )
    parser.addoption("--gpu", action="store_true", help="also run what needs a CUDA device")


def pytest_collection_modifyitems(config, items):
    for mark in ("slow", "gpu"):
        if not config.getoption(f"--{mark}"):
            skip = pytest.mark.skip(reason=f"needs --{mark}")
            for item in items:
                if mark in item.keywords:
                    item.add_marker(skip)


@pytest.fixture
def said(capsys, caplog):
    "All that was printed or logged since the last question: said()."
    def ask():
        text = "".join(capsys.readouterr()) + caplog.text
        caplog.clear()
        return text
    return ask


@pytest.fixture
def sft(capsys):
    """The command inside this process:

    sft('predict', …) -> (standard output, standard error); code: the exit code expected.
    """
    from sft_nb.commands.cli import main

    def type_(*argv, code=0):
        capsys.readouterr()
        with pytest.raises(SystemExit) as e:
            main([str(a) for a in argv])
        out, err = capsys.readouterr()
        assert (e.value.code or 0) == code, (e.value.code, out, err)
        return out, err
    return type_


def alike(some, others):
    """Are two lists of answers the same?

    Scores to 1e-6, numbers to 1e-5: weights at another place in memory may change a last bit.
    """
    def same(a, b):
        if isinstance(a, float): return a == pytest.approx(b, rel=1e-5, abs=1e-5)
        if isinstance(a, dict): return set(a) == set(b) and all(same(v, b[k]) for k, v in a.items())
        if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same, a, b))
        return a == b

    def one(a, b): return same(a.value, b.value) and a.probs == pytest.approx(b.probs, abs=1e-6)

    assert some
    return len(some) == len(others) and all(map(one, some, others))


def gradient_of(model):
    "The gradient of all parameters in one vector."
    import torch
    parts = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat(parts).double()


def same_tensors(ours, theirs, atol=0.0):
    "Have two dictionaries the same tensors under the same names?"
    import torch
    assert ours
    rtol = 1e-5 if atol else 0.0
    return ours.keys() == theirs.keys() and all(
        torch.allclose(v, theirs[k], rtol=rtol, atol=atol) for k, v in ours.items()
    )


def same_weights(model, other, atol=0.0):
    return same_tensors(model.state_dict(), other.state_dict(), atol)


def shapes(n, size=40, seed=0):
    "Pictures (size size 3, uint8) of noise with a bright square or a bright bar, in turn."
    import numpy as np
    rng, out = np.random.default_rng(seed), []
    for i in range(n):
        picture = rng.integers(0, 90, (size, size, 3), dtype=np.uint8)
        x, y = rng.integers(2, size // 2, 2)
        picture[y:y + 14, x:x + (14 if i % 2 else 4)] = rng.integers(150, 256, 3)
        out.append(picture)
    return out


SHAPES = [("square", (20, 20)), ("lying", (22, 10)), ("standing", (10, 22))]  # width, height


def boxed(n, size=64, seed=0, empty=0.25):
    """Rows (image, boxes) of noise with up to two bright shapes.

    A square, a bar lying or standing. Some have none.
    """
    import numpy as np
    import pandas as pd
    rng, rows = np.random.default_rng(seed), []
    corners = [(2, 2), (size // 2, size // 2)]
    for _ in range(n):
        picture, boxes = rng.integers(0, 90, (size, size, 3), dtype=np.uint8), []
        many = 0 if rng.random() < empty else rng.integers(1, 3)
        for corner in corners[:many]:
            x, y = (np.array(corner) + rng.integers(0, 6, 2)).tolist()
            label, (w, h) = SHAPES[rng.integers(3)]
            picture[y:y + h, x:x + w] = rng.integers(150, 256, 3)
            boxes.append({"label": label, "xyxy": [x, y, x + w, y + h]})
        rows.append({"image": picture, "boxes": boxes})
    return pd.DataFrame(rows)


@pytest.fixture(scope="session", autouse=True)
def states(tmp_path_factory):
    "What frozen blocks compute in tests is not kept in anybody's cache."
    import sft_nb.batches.frozen
    folder = tmp_path_factory.mktemp("features")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sft_nb.batches.frozen,
            "features_folder",
            functools.wraps(sft_nb.batches.frozen.features_folder)(lambda: folder),
        )
        yield


@pytest.fixture(scope="session", autouse=True)
def own_books(tmp_path_factory):
    "Looks and questions of tests never reach anybody's own books."
    folder = tmp_path_factory.mktemp("books")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFT_NB_BOOKS", str(folder / "shared.json"))
        yield folder


@pytest.fixture(autouse=True)
def fresh_books(own_books, monkeypatch, request):
    "Every test begins with empty books, so that none hangs on those before it."
    name = f"{abs(hash(request.node.nodeid))}.json"
    monkeypatch.setenv("SFT_NB_BOOKS", str(own_books / name))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    "tiny(name): the folder of a small checkpoint, made once per session."
    @functools.cache
    def once(name):
        from sft_nb.chance import torch_seed
        from sft_nb.models.loading import quiet
        folder = tmp_path_factory.mktemp("checkpoints") / name
        with quiet(), torch_seed("tiny", name):
            model, processor = make(name)
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
        return folder
    return once


@pytest.fixture(scope="session")
def reviews():
    "Eight rows to memorise: text, label (good, bad)."
    import pandas as pd
    return pd.DataFrame({"text": SENTENCES, "label": ["good", "bad"] * 4})


@pytest.fixture(scope="session")
def run(tiny, reviews, tmp_path_factory):
    "A finished run: tiny BERT that knows the eight rows, saved."
    from sft_nb.all import FineTuner, Recipe, TextClassification
    recipe = Recipe(
        epochs=40, learning_rate=3e-3, batch_size=8, dropout=0.0, schedule="constant",
        keep_best=False,
    )
    return (
        FineTuner(TextClassification(), tiny("bert"), recipe)
        .fit(reviews)
        .save(tmp_path_factory.mktemp("runs") / "reviews")
    )
