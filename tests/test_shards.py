"""A model of which every rank holds a share:

the same weights, figures and gradients as one process, and checkpoints that any number of ranks
can go on from.
"""
import json
import shutil
from functools import partial

import pytest
import torch
from cases import CASES
from rank_run import ROWS, run, weights
from rank_figures import figures
from rank_methods import WAYS, by_way
from safetensors import safe_open
from safetensors.torch import load_file
from test_ranks import HERE, TORCHRUN, apart
from test_ranks import launch as launch_in

from sft_nb.all import FineTuner
from sft_nb.files import sha256
from sft_nb.training.checkpoints import read_checkpoint
from sft_nb.training.scaling import accelerate_config

launch = partial(launch_in, seconds=540)
WITHIN = 5e-6  # of the norm of all weights, after 24 updates


@pytest.fixture(scope="module")
def shared_by(tmp_path_factory):
    "shared_by(n): the words that launch a script on n ranks that share the model."
    def words(ranks):
        file = tmp_path_factory.mktemp("config") / "fsdp.json"
        config = accelerate_config(ranks, sharded=True, cpu=True, bf16=False)
        file.write_text(json.dumps(config))
        return ["-m", "accelerate.commands.launch", "--config_file", file]
    return words


@pytest.fixture(scope="module")
def alone(tiny, tmp_path_factory):
    "The uninterrupted run in this process."
    return run(tmp_path_factory.mktemp("alone"), tiny("bert"))


@pytest.fixture(scope="module")
def together(shared_by, tiny, tmp_path_factory):
    "The same on two ranks: (folder, standard output)."
    out = tmp_path_factory.mktemp("together")
    return out, launch(*shared_by(2), HERE / "rank_run.py", out, tiny("bert"))


@pytest.fixture(scope="module")
def killed(shared_by, tiny, tmp_path_factory):
    "Rank 1 of two was killed with its half of the second checkpoint half written."
    out = tmp_path_factory.mktemp("killed")
    launch(*shared_by(2), HERE / "rank_run.py", out, tiny("bert"), expect=1, KILL_RANK="1",
           KILL_WRITE="2")
    return out


def final(out): return load_file(out / "final.safetensors")["weights"]


def checkpoints(out): return sorted((out / "checkpoints").glob("step-*"))


def test_a_shared_run_ends_where_one_process_ends(alone, together):
    assert alone.position.step == 24
    assert 0 < apart(final(together[0]), weights(alone)) <= WITHIN


def test_every_rank_writes_its_half(together):
    "Nothing but safetensors and JSON, all of it in the manifest."
    for folder in checkpoints(together[0]):
        names = {f.name for f in folder.iterdir()} - {"manifest.json"}
        hashes = json.loads((folder / "manifest.json").read_text())["sha256"]
        assert names == {"tensors.safetensors", "tensors-1.safetensors", "state.json"}
        assert hashes == {name: sha256(folder / name) for name in names}
        with (
            safe_open(folder / "tensors.safetensors", "pt") as first,
            safe_open(folder / "tensors-1.safetensors", "pt") as second,
        ):
            mine, theirs = (
                {k: f.get_slice(k).get_shape() for k in f.keys()} for f in (first, second)
            )
        assert set(theirs) < set(mine), "numbers that all ranks have are written once"
        assert all(abs(mine[k][0] - theirs[k][0]) <= max(1, mine[k][0] % 2) for k in theirs)
        saved = load_file(together[0] / "saved" / "model.safetensors")
        whole = read_checkpoint(folder)["model"]
        assert {k: whole[k].shape for k in saved} == {k: v.shape for k, v in saved.items()}


def test_the_saved_run_is_an_ordinary_folder(alone, together):
    "One file of weights, read in this process; the same answers as in the run."
    saved = FineTuner.load(together[0] / "saved")
    assert not list((together[0] / "saved").glob("tensors*"))
    assert torch.equal(weights(saved), final(together[0]))
    figures = json.loads(together[1].split("evaluated ")[1].splitlines()[0])
    mine = saved.evaluate(ROWS).to_dict()
    assert figures["metrics"] == mine["metrics"]
    assert figures["loss"] == pytest.approx(mine["loss"], rel=1e-5)


def test_a_rank_that_dies_in_a_checkpoint_leaves_the_one_before(killed):
    assert [f.name for f in checkpoints(killed)] == ["step-00000008"]
    assert killed.with_suffix(".died").read_text() == ".step-00000016.new/tensors-1.safetensors"
    half = killed / "checkpoints" / ".step-00000016.new"  # the other rank may live to delete it
    assert not (half / "manifest.json").exists()


@pytest.mark.parametrize("ranks", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_run_goes_on_with_any_number_of_ranks(
    alone, together, killed, shared_by, tiny, tmp_path, ranks
):
    "Shares are put together and cut again; with as many ranks as before, to the bit."
    out = tmp_path / "run"
    shutil.copytree(killed, out)
    if ranks == 1: found = weights(run(out, tiny("bert")))
    else:
        launch(*shared_by(ranks), HERE / "rank_run.py", out, tiny("bert"))
        found = final(out)
        names = {f.name for f in checkpoints(out)[-1].glob("*.safetensors")}
        assert len(names) == ranks
    assert apart(found, weights(alone)) <= WITHIN
    if ranks == 2: assert torch.equal(found, final(together[0]))


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_with_shares(alone, shared_by, tiny, tmp_path):
    "And a checkpoint that nobody has shared is shared now."
    out = tmp_path / "run"
    shutil.copytree(alone.out, out)
    assert len(checkpoints(out)) == 2
    shutil.rmtree(checkpoints(out)[-1])  # back to the end of the second epoch
    launch(*shared_by(2), HERE / "rank_run.py", out, tiny("bert"))
    assert apart(final(out), weights(alone)) <= WITHIN


def test_a_lost_share_is_noticed(together, tmp_path, shared_by, tiny):
    "The one before is taken; to the bit, for as many ranks."
    out = tmp_path / "run"
    shutil.copytree(together[0] / "checkpoints", out / "checkpoints")
    (checkpoints(out)[-1] / "tensors-1.safetensors").write_bytes(b"half")
    launch(*shared_by(2), HERE / "rank_run.py", out, tiny("bert"))
    assert torch.equal(final(out), final(together[0]))


# --- figures ---

@pytest.fixture(scope="module")
def said_alone(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFT_NB_HOME", str(out / "home"))
        return figures(out, tiny("bert"))


@pytest.mark.parametrize("way", ["copies", "shares"])
def test_figures_are_those_of_one_process(said_alone, shared_by, tiny, tmp_path, way):
    "Early stopping, evaluation, prediction, certificate, and all of it after loading."
    launcher = shared_by(2) if way == "shares" else [*TORCHRUN, 2]
    said = launch(*launcher, HERE / "rank_figures.py", tmp_path, tiny("bert"))
    found = json.loads(said.split("figures ")[1].splitlines()[0])
    assert found["held"] == [{"copies": "Copies", "shares": "Shards"}[way]] * 2
    for mine, theirs in ((said_alone, found), (said_alone["again"], found["again"])):
        for name in ("epochs", "metrics", "answers"):
            assert mine[name] == theirs[name], name
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-4)
        assert theirs["scores"] == pytest.approx(mine["scores"], abs=1e-4)
    assert found["proof"] == said_alone["proof"]
    book = json.loads((tmp_path / "ledger.json").read_text())
    assert [e["times"] for e in book["asked"]] == [1], "a question is entered once"


# --- a detector ---

@pytest.mark.slow
def test_a_detector_ends_where_one_process_ends(shared_by, tiny, tmp_path):
    "It is put together as a whole; its figures, and the folder that it leaves, are those of one."
    case, one, two = CASES["object detection"], tmp_path / "one", tmp_path / "two"
    where, found = HERE / "rank_run.py", []
    for words, out in ([*TORCHRUN, 1], one), (shared_by(2), two):
        said = launch(*words, where, out, tiny(case.checkpoint), CASE="object detection")
        found.append(json.loads(said.split("evaluated ")[1].splitlines()[0]))
    assert 0 < apart(final(two), final(one)) <= WITHIN
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-4)
    assert found[0]["metrics"] == pytest.approx(found[1]["metrics"], abs=1e-4)
    saved = [FineTuner.load(out / "saved").evaluate(case.rows).to_dict() for out in (one, two)]
    assert saved[0]["metrics"] == pytest.approx(saved[1]["metrics"], abs=1e-4)
    assert len(list(checkpoints(two)[-1].glob("*.safetensors"))) == 2


# --- gradients ---

@pytest.fixture(scope="module")
def gradients(shared_by, tiny, tmp_path_factory):
    "Of all cases, by one process and by two that share the model, in one launch each."
    out = tmp_path_factory.mktemp("gradients")
    folders = [f"{name}={CASES[name].folder(tiny)}" for name in CASES]
    launch(*TORCHRUN, 1, HERE / "rank_gradients.py", out / "1.safetensors", *folders)
    launch(*shared_by(2), HERE / "rank_gradients.py", out / "2.safetensors", *folders)
    return load_file(out / "1.safetensors"), load_file(out / "2.safetensors")


@pytest.mark.parametrize("name", CASES, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("share", ["5+3", "8+0"])
def test_gradients_are_sums_over_shares(gradients, name, share):
    "Also when one rank has all the rows, and the other runs along with none of its own."
    one, two = (g[f"{name}, {share}"] for g in gradients)
    assert one.norm() > 0 and apart(two, one) <= 1e-6


# --- ways of training ---

@pytest.fixture(scope="module")
def ways(shared_by, tiny, tmp_path_factory):
    "Weights by way, of one process and of two that share the model; and who was refused."
    out = tmp_path_factory.mktemp("ways")
    said = launch(*shared_by(2), HERE / "rank_methods.py", out, tiny("bert"))
    refused = json.loads(said.split("refused ")[1].splitlines()[0])
    return by_way(tiny("bert"))[0], load_file(out / "ways.safetensors"), refused


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS, ids=lambda name: name.replace(" ", "-"))
def test_ways_of_training_end_where_one_process_ends(ways, name):
    "Or are refused: what computes with whole weights before the first update."
    one, two, refused = ways
    if name == "a fitted head":
        assert "FitHead changes whole weights before the first update" in refused[name]
        return
    assert name not in refused, refused[name]
    assert apart(two[name], one[name]) <= WITHIN


# --- the command line ---

def test_command_line_under_fsdp(shared_by, tiny, reviews, tmp_path):
    "The same command, with accelerate's file before it."
    table, out = tmp_path / "reviews.csv", tmp_path / "run"
    reviews.to_csv(table, index=False)
    said = launch(
        *shared_by(2), "-m", "sft_nb", "fine-tune", table, "--task", "text-classification",
        "--model", tiny("bert"), "--out", out, "--valid", table, "--certify-size", "0",
        "--epochs", "2", "--gradient-checkpointing", "--json",
    )
    assert said.count("Epoch 1,") == said.count("Saved to") == 1
    assert json.loads(said.splitlines()[-1])["n"] == {"train": 8, "valid": 8}
    assert FineTuner.load(out).plan.gradient_checkpointing
