"""A pickle is a program. One lies in every file that we load, and is never run."""
import ast
import io
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import alike
from tiny_models import SENTENCES

import sft_nb
from sft_nb import assets, register
from sft_nb.data import asset_tables
from sft_nb.all import FineTuner, Recipe, SFTError, TextClassification, read_table
from sft_nb.files import sha256
from sft_nb.training.checkpoints import read_checkpoint
from sft_nb.models.loading import load
from sft_nb.widgets.page import network

ROWS = pd.DataFrame({"text": SENTENCES, "label": ["good", "bad"] * 4})
ONCE = Recipe(epochs=1, batch_size=4, precision="fp32")


# --- the trap ---

class Trap:
    "Whoever unpickles it creates a file."
    def __init__(self, marker): self.marker = marker
    def __reduce__(self): return Path.touch, (self.marker,)


def written(f):
    f(buffer := io.BytesIO())
    return buffer.getvalue()


PARCELS = {
    "pickle": lambda trap: pickle.dumps(trap),
    "old pickle": lambda trap: pickle.dumps({"weight": trap}, 0),
    "torch.save": lambda trap: written(lambda f: torch.save({"weight": trap}, f)),
    "old torch.save": lambda trap: written(
        lambda f: torch.save({"weight": trap}, f, _use_new_zipfile_serialization=False)
    ),
    "npy": lambda trap: written(
        lambda f: np.save(f, np.array([trap], dtype=object), allow_pickle=True)
    ),
    "npz": lambda trap: written(lambda f: np.savez(f, weight=np.array([trap], dtype=object))),
}


@pytest.fixture
def marker(tmp_path):
    "Not there when the test begins, and not when it ends."
    yield tmp_path/"the trap was sprung"
    assert not (tmp_path/"the trap was sprung").exists()


@pytest.mark.parametrize("parcel", PARCELS)
def test_the_trap_works(parcel, tmp_path):
    "Else the tests below would show nothing."
    marker, data = tmp_path/"sprung", PARCELS[parcel](Trap(tmp_path/"sprung"))
    openers = {
        "npy": lambda: np.load(io.BytesIO(data), allow_pickle=True),
        "npz": lambda: np.load(io.BytesIO(data), allow_pickle=True)["weight"],
    }
    openers.get(
        parcel,
        lambda: (
            torch.load(io.BytesIO(data), weights_only=False)
            if "torch" in parcel
            else pickle.loads(data)
        ),
    )()
    assert marker.exists()


# --- checkpoints of a run ---

@pytest.fixture(scope="module")
def stopped(tiny, tmp_path_factory):
    "The folder of a run with two checkpoints."
    out = tmp_path_factory.mktemp("runs")/"stopped"
    FineTuner(TextClassification(), tiny("bert"), ONCE.but(epochs=2), out=out, device="cpu").fit(
        ROWS
    )
    return out


@pytest.mark.parametrize("forged", [False, True])
@pytest.mark.parametrize("parcel", PARCELS)
@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
def test_checkpoints(name, parcel, forged, stopped, tiny, tmp_path, marker, said):
    "Also where the manifest has been written anew, so that the hash is right."
    out = shutil.copytree(stopped, tmp_path/"run")
    for folder in (out/"checkpoints").iterdir():
        (folder/name).write_bytes(PARCELS[parcel](Trap(marker)))
        if forged and name != "manifest.json":
            (folder / "manifest.json").write_text(
                json.dumps(
                    {
                        "format": 1,
                        "sha256": {
                            f: sha256(folder / f) for f in ("state.json", "tensors.safetensors")
                        },
                    }
                )
            )
        with pytest.raises(SFTError, match=folder.name):
            read_checkpoint(folder)
    with pytest.raises(SFTError, match="There is no usable checkpoint in"):
        FineTuner(
            TextClassification(), tiny("bert"), ONCE.but(epochs=2), out=out, device="cpu"
        ).fit(ROWS, resume="auto")
    assert said().count("WARNING") == 2


# --- saved runs, and checkpoints of others ---

MUST_REFUSE = [
    "sft_nb.json", "rows.json", "config.json", "model.safetensors", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
]
BESIDE = [
    "README.md", "pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt",
    "rng_state.pth", "adapter_model.bin", "vocab.txt", "vocab.json", "merges.txt",
    "tokenizer.model", "spiece.model", "generation_config.json", "preprocessor_config.json",
    "processor_config.json", "chat_template.jinja", "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
]


@pytest.mark.parametrize("parcel", PARCELS)
@pytest.mark.parametrize("name", MUST_REFUSE)
def test_files_of_a_run(name, parcel, run, tmp_path, marker):
    folder = shutil.copytree(run, tmp_path/"run")
    (folder/name).write_bytes(PARCELS[parcel](Trap(marker)))
    with pytest.raises(SFTError, match="cannot be read"):
        FineTuner.load(folder)
    if name in ("sft_nb.json", "rows.json"): return
    with pytest.raises(SFTError, match="cannot be read"):
        load(folder, "sequence-classification")


@pytest.mark.parametrize("name", BESIDE)
def test_files_that_lie_beside(name, run, tmp_path, marker):
    "Refused, or not looked at: then the answers are those of the run."
    ours = FineTuner.load(run).predict(SENTENCES)
    for parcel in PARCELS.values():
        folder = shutil.copytree(run, tmp_path/"run", dirs_exist_ok=True)
        (folder/name).write_bytes(parcel(Trap(marker)))
        try:
            assert alike(FineTuner.load(folder).predict(SENTENCES), ours)
        except SFTError as e:
            assert "cannot be read" in str(e)


@pytest.mark.parametrize("parcel", PARCELS)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.bin", "model.pt"])
def test_weights_of_another_kind_instead(name, parcel, run, tiny, tmp_path, marker):
    "The message does not advise to switch the protection off, as torch's own does."
    for folder in (
        shutil.copytree(run, tmp_path / "run"),
        shutil.copytree(tiny("bert"), tmp_path / "tiny"),
    ):
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(PARCELS[parcel](Trap(marker)))
        with pytest.raises(SFTError) as e:
            FineTuner(TextClassification(), folder, ONCE).fit(ROWS)
        assert "weights_only" not in str(e.value) and "safetensors" in str(e.value)
    with pytest.raises(
        SFTError, match="model.safetensors is missing, and no other kind of file is opened"
    ):
        FineTuner.load(tmp_path / "run")


def test_harmless_tensors_in_torchs_format_are_taken(tiny, tmp_path):
    "Older checkpoints have no other; the restricted unpickler knows tensors only."
    from safetensors.torch import load_file
    folder = shutil.copytree(tiny("bert"), tmp_path/"old")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    model, _ = load(folder, "sequence-classification")
    assert torch.equal(
        model.bert.embeddings.word_embeddings.weight,
        load(tiny("bert"), "sequence-classification")[0].bert.embeddings.word_embeddings.weight,
    )


CODE = ("from pathlib import Path\nPath({!r}).touch()\nfrom transformers import BertConfig as C, "
        "BertForSequenceClassification as M, BertTokenizer as T\n")
LURES = {  # what is lured in -> the file that names it, and how
    "a configuration": ("config.json", {"auto_map": {"AutoConfig": "lure.C"}}),
    "a configuration of an unknown type": (
        "config.json",
        {"auto_map": {"AutoConfig": "lure.C"}, "model_type": "lure"},
    ),
    "a model": ("config.json", {"auto_map": {"AutoModelForSequenceClassification": "lure.M"}}),
    "a model with a head that is not known": (
        "config.json",
        {"auto_map": {"AutoModelForSequenceClassification": "lure.M"}, "model_type": "vit_mae"},
    ),
    "a tokenizer": (
        "tokenizer_config.json",
        {"auto_map": {"AutoTokenizer": ["lure.T", None]}, "tokenizer_class": "T"},
    ),
}


@pytest.mark.parametrize("lure", LURES)
def test_code_in_a_checkpoint_is_never_run(lure, tiny, tmp_path, monkeypatch):
    "Nor is anybody asked whether it may: here is one who says yes to everything."
    asked, marker = [], tmp_path/"the code was run"
    monkeypatch.setattr("builtins.input", lambda question="": asked.append(question) or "y")
    folder, (name, change) = shutil.copytree(tiny("bert"), tmp_path/"model"), LURES[lure]
    (folder/"lure.py").write_text(CODE.format(str(marker)))
    (folder/name).write_text(json.dumps(json.loads((folder/name).read_text()) | change))
    for fresh in (False, True):
        if "unknown" not in lure and "head" not in lure:
            load(folder, "sequence-classification", fresh=fresh)
            continue
        with pytest.raises(SFTError, match="custom code|does not recognize|has none of that kind"):
            load(folder, "sequence-classification", fresh=fresh)
    assert not asked and not marker.exists()


# --- tables and assets ---

@pytest.mark.parametrize("parcel", PARCELS)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_tables(suffix, parcel, tmp_path, marker):
    (tmp_path/f"rows{suffix}").write_bytes(PARCELS[parcel](Trap(marker)))
    with pytest.raises(SFTError, match=f"rows{suffix}"):
        TextClassification().read(tmp_path / f"rows{suffix}")


def test_parquet_with_a_pickle_inside(tmp_path, marker):
    """In the type of a column (which old versions of pyarrow unpickled), in the table's
    description, and in a cell.
    """
    trap = pickle.dumps(Trap(marker))
    field = pa.field(
        "text",
        pa.string(),
        metadata={
            "ARROW:extension:name": "arrow.py_extension_type",
            "ARROW:extension:metadata": trap,
        },
    )
    pq.write_table(
        pa.table([pa.array(["a film"])], schema=pa.schema([field])), tmp_path / "type.parquet"
    )
    assert read_table(tmp_path/"type.parquet")["text"].tolist() == ["a film"]
    pq.write_table(
        pa.table({"text": ["a film"]}).replace_schema_metadata({"pandas": trap}),
        tmp_path / "about.parquet",
    )
    with pytest.raises(SFTError, match="about.parquet"):
        read_table(tmp_path / "about.parquet")
    pq.write_table(pa.table({"text": pa.array([trap], pa.binary())}), tmp_path/"cell.parquet")
    assert read_table(tmp_path/"cell.parquet")["text"].tolist() == [trap]


READERS = {"dataset": asset_tables.load_data, "checkpoint": load, "graph": lambda _: network()}


@pytest.mark.parametrize("parcel", ["pickle", "old pickle"])
@pytest.mark.parametrize("name", register.names())
def test_assets(name, parcel, tmp_path, marker, monkeypatch):
    "In every file of an asset, at its right length, under a note that says that all is well."
    monkeypatch.setenv("SFT_NB_HOME", str(tmp_path/"home"))
    asset, folder = register.info(name), tmp_path/"home"/name
    for m in asset.members:
        (folder/m.name).parent.mkdir(parents=True, exist_ok=True)
        with open(folder / m.name, "wb") as f:
            f.write(PARCELS[parcel](Trap(marker))[: m.bytes])
            f.truncate(m.bytes)
    (folder / "files.txt").write_text(
        "".join(f"{m.sha256} {m.bytes} {m.name}\n" for m in asset.members)
    )
    assert assets.get(name) == folder and assets.verify(name).state[0].startswith("damaged: ")
    with pytest.raises(SFTError, match=f"{name}.* cannot be read"):
        READERS[asset.kind](name)


# --- the source ---

FORBIDDEN = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve",
    "jsonpickle",
}


def guarded(tree):
    "Is pickle there for nothing but a reader that says itself which names it knows?"
    uses = [
        n.attr
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "pickle"
    ]
    readers = [
        c
        for c in ast.walk(tree)
        if isinstance(c, ast.ClassDef) and "pickle.Unpickler" in map(ast.unparse, c.bases)
    ]
    own = all(
        any(isinstance(f, ast.FunctionDef) and f.name == "find_class" for f in c.body)
        for c in readers
    )
    return (
        bool(readers)
        and own
        and uses.count("Unpickler") == len(readers)
        and set(uses) <= {"Unpickler", "UnpicklingError"}
    )


def unsafe(tree):
    "Lines that could unpickle or run what a file says."
    forbidden = FORBIDDEN - ({"pickle"} if guarded(tree) else set())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {a.name for a in node.names} | (
                {(node.module or "").split(".")[0]}
                if {a.name for a in node.names} != {"UnpicklingError"}
                else set()
            )
        else:
            names = set()
        if names & forbidden: yield node.lineno, f"import {min(names & forbidden)}"
        if not isinstance(node, ast.Call): continue
        called, said = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
        if called in ("eval", "exec", "compile", "__import__") or called.endswith("read_pickle"):
            yield node.lineno, called
        if called == "torch.load" and said.get("weights_only") != "True":
            yield node.lineno, "torch.load without weights_only=True"
        if (
            said.get("allow_pickle", "False") != "False"
            or said.get("trust_remote_code", "False") != "False"
            or said.get("weights_only", "True") != "True"
        ):
            yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize(
    "file",
    sorted(
        p.relative_to(Path(sft_nb.__file__).parent).as_posix()
        for p in Path(sft_nb.__file__).parent.rglob("*.py")
    ),
)
def test_the_package_does_not_unpickle(file):
    assert not list(
        unsafe(ast.parse((Path(sft_nb.__file__).parent / file).read_text(encoding="utf-8")))
    )


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from joblib import load", "torch.load(f)",
        "torch.load(f, weights_only=False)", "np.load(f, allow_pickle=True)",
        "pd.read_pickle(f)", "eval(text)", "load(f, trust_remote_code=True)",
        "import pickle\nclass R(pickle.Unpickler): pass",
        "import pickle\nclass R(pickle.Unpickler):\n def find_class(self, m, n): raise "
        "ValueError\npickle.loads(x)",
    ],
)
def test_what_would_be_noticed(line):
    assert list(unsafe(ast.parse(line)))
