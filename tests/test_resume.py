"""A run that is killed, interrupted, or meets a bad disk ends as if nothing had happened, or
says what has.
"""
import errno
import json
import math
import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from conftest import alike
from kill_run import DEATHS, RECIPE, ROWS, TRAIN, VALID, DroppedWords, live, type_in
from safetensors import SafetensorError
from safetensors.torch import load_file

import sft_nb.training.checkpoints as keeping
from sft_nb.all import CheckpointError, FineTuner, TrainingError
from sft_nb.training.checkpoints import Checkpointer, read_checkpoint, write_checkpoint
from sft_nb.training.recipe import Method

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes with SIGKILL")


# --- processes ---

class Lives:
    "Processes that train in folders of one root. A fork server imports torch once for all of them."
    def __init__(self, checkpoint, root):
        self.server, self.checkpoint, self.root = get_context("forkserver"), checkpoint, root
        self.server.set_forkserver_preload(
            ["sft_nb.all", "sft_nb.commands.cli", "transformers.models.bert.modeling_bert"]
        )

    def start(self, f, *args, **how):
        process = self.server.Process(target=f, args=args, kwargs=how)
        process.start()
        return process

    def end(self, process):
        process.join(200)
        assert process.exitcode is not None, process.kill()
        return process.exitcode

    def begin(self, name, **how): return self.start(live, self.checkpoint, self.root/name, **how)
    def live(self, name, **how):
        "Train in a folder, going on with what is there; the exit code."
        return self.end(self.begin(name, **how))
    def type(self, name, argv, **how):
        return self.end(self.start(type_in, list(map(str, argv)), self.root / f"{name}.txt", **how))
    def summary(self, name): return json.loads((self.root/f"{name}.json").read_text())
    def said(self, name): return (self.root/f"{name}.txt").read_text()
    def left(self, name):
        return sorted(
            f.name for f in (self.root / name / "checkpoints").iterdir() if f.name != ".lock"
        )


@pytest.fixture(scope="module")
def lives(tiny, tmp_path_factory): return Lives(str(tiny("bert")), tmp_path_factory.mktemp("lives"))


@pytest.fixture(scope="module")
def whole(lives):
    """What an uninterrupted run ends with:

    hashes of weights, best weights and moments; history; position.
    """
    assert lives.live("warm", every=600) == 0  # the server starts
    start = time.monotonic()
    assert lives.live("whole") == 0 and lives.left("whole") == ["step-00000008", "step-00000009"]
    lives.seconds = time.monotonic() - start
    assert lives.summary("warm") == lives.summary("whole")
    return lives.summary("whole")


def ends_alike(lives, name, whole, **how):
    "Go on, once, to the end."
    assert lives.live(name, **how) == 0, lives.said(name)
    assert lives.summary(name) == whole
    assert len(lives.left(name)) <= 2 and all(f.startswith("step-") for f in lives.left(name))


def test_there_is_something_to_lose(tiny, whole):
    "Dropout, augmentation, a best epoch that is not the last one's weights, Adam's moments."
    config = json.loads((tiny("bert")/"config.json").read_text())
    assert RECIPE.dropout is None
    assert config["hidden_dropout_prob"] == config["attention_probs_dropout_prob"] == .1
    task = DroppedWords().learn(ROWS)
    tuner = FineTuner(task, tiny("bert"), RECIPE.but(epochs=1), device="cpu").fit(TRAIN, VALID)
    examples = [
        [tuner.run.examples.example(i, epoch)["input_ids"] for i in range(12)]
        for epoch in (0, 1, None)
    ]
    assert examples[0] != examples[1] != examples[2] != examples[0]
    assert len(whole["kept"]) > 50
    assert len(whole["optimizer"]) > 150
    assert [len(whole[k]) for k in ("steps", "epochs")] == [9, 3]


def same(weights, others): return all(torch.equal(v, others[k]) for k, v in weights.items())


# --- SIGKILL ---

@pytest.mark.parametrize("event", DEATHS)
def test_killed_at_a_named_point(event, lives, whole):
    name = event.replace(" ", "-").replace(",", "")
    assert lives.live(name, event=event) == -signal.SIGKILL
    assert any(f.startswith("step-") for f in lives.left(name))
    assert not (lives.root/f"{name}.json").exists()
    ends_alike(lives, name, whole)


def test_killed_where_only_epochs_are_saved(lives, whole):
    "The second epoch is begun again, the first is not."
    assert (
        lives.live("epochs", every=600, event="in a step, before its gradient") == -signal.SIGKILL
    )
    assert lives.left("epochs") == ["step-00000003"]
    ends_alike(lives, "epochs", whole, every=600)
    epochs = [line[:7] for line in lives.said("epochs").splitlines() if line.startswith("Epoch")]
    assert epochs == ["Epoch 1", "Epoch 2", "Epoch 3"]


def test_killed_again_and_again(lives, whole):
    "Every life does two updates more than the last, and is killed in the next."
    codes = [lives.live("often", event="in a step, before its gradient", n=3) for _ in range(4)]
    assert codes == [-signal.SIGKILL] * 4
    assert lives.left("often") == ["step-00000007", "step-00000008"]
    ends_alike(lives, "often", whole)


class Death(BaseException):
    "An exception that nothing catches stands for death where only this process's files matter."


def dying(monkeypatch, n, owner=os, names=("replace", "fsync", "unlink", "rmdir"), error=Death):
    "Lets the nth call of these functions fail; the list of calls so far."
    calls = []

    def or_die(f):
        def call(*args, **kwargs):
            calls.append(f)
            if len(calls) == n: raise error
            return f(*args, **kwargs)
        return call

    for name in names:
        monkeypatch.setattr(owner, name, or_die(getattr(owner, name)))
    return calls


def test_death_in_save_leaves_the_old_or_the_new(tiny, tmp_path, monkeypatch):
    """Never a mixture, and never none:

    at every call of the file system, a model of two labels replaces one of three.
    """
    old, new = (
        FineTuner(DroppedWords(), tiny("bert"), RECIPE.but(epochs=1), device="cpu").fit(rows)
        for rows in (ROWS.assign(label=list("abc") * 8), ROWS)
    )
    kept, states = old.save(tmp_path/"old"), []
    for n in range(1, 100):
        folder = shutil.copytree(kept, tmp_path/"run")
        with monkeypatch.context() as m:
            calls = dying(m, n)
            try:
                new.save(folder, overwrite=True)
            except Death:
                pass
        states.append(
            {3: "old", 2: "new"}[
                len(FineTuner.load(folder, device="cpu").predict(["a film"])[0].probs)
            ]
        )
        new.save(folder, overwrite=True)
        assert {f.name for f in folder.iterdir()} == {f.name for f in kept.iterdir()}
        shutil.rmtree(folder)
        if len(calls) < n: break
    assert list(dict.fromkeys(states)) == ["old", "new"]
    assert min(map(states.count, ("old", "new"))) > 5


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_killed_at_every_rename(lives, whole):
    "Between any two steps of the file system."
    for n in range(1, 100):
        name = f"rename-{n}"
        if lives.live(name, event="at a rename", n=n) == 0: break
        ends_alike(lives, name, whole)
        shutil.rmtree(lives.root/name)
    assert n > 9 * 2


def kill_at_random(lives, name, draw, seconds):
    """The exit code of a process that is killed at some moment of so many seconds, unless it has
    ended before.
    """
    process = lives.begin(name)
    process.join(draw.uniform(0, seconds))
    process.kill()
    return lives.end(process)


@pytest.mark.parametrize(
    "kills", [1, pytest.param(24, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]
)
def test_killed_at_random_moments(kills, lives, whole):
    draw, killed = random.Random(kills), 0
    while killed < kills:
        name = f"random-{kills}-{killed}"
        shutil.rmtree(lives.root/name, ignore_errors=True)
        if kill_at_random(lives, name, draw, lives.seconds) == 0:
            continue  # it was faster: another draw
        killed += 1
        ends_alike(lives, name, whole)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_killed_at_random_moments_until_it_ends(lives, whole):
    draw, code = random.Random(0), None
    for life in range(100):
        if (code := kill_at_random(lives, "hunted", draw, 2 + .1 * life)) == 0: break
    assert code == 0 and lives.summary("hunted") == whole


# --- when, where and how much is saved ---

class Fake:
    "A run for a keeper: one tensor and a step."
    def __init__(self): self.position, self.loaded, self.model = SimpleNamespace(step=0), None, None
    def state_dict(self):
        return {"w": torch.full((2,), float(self.position.step)), "step": self.position.step}
    def load_state_dict(self, state): self.loaded = state["step"]


def saved(out, *steps, **how):
    "A keeper that has saved these steps."
    tuner, keeper = Fake(), Checkpointer(out, **how)
    keeper.start(tuner)
    for tuner.position.step in steps:
        keeper.save(tuner)
    keeper.end(tuner)
    return out/"checkpoints"


def resumed(out, **how):
    "The step from which a new process would go on."
    tuner, keeper = Fake(), Checkpointer(out, resume="auto", **how)
    try:
        keeper.start(tuner)
    finally:
        keeper.end(tuner)
    return tuner.loaded


def test_saved_by_the_clock(tmp_path, monkeypatch):
    "Forty seconds an update, and at most a hundred may be lost (and the update under way)."
    now, tuner, written = SimpleNamespace(monotonic=lambda: 40. * tuner.position.step), Fake(), []
    monkeypatch.setattr(keeping, "time", now)
    keeper = Checkpointer(tmp_path, every=100)
    monkeypatch.setattr(
        keeping, "write_checkpoint", lambda folder, state: written.append(state["step"]) or folder
    )
    keeper.start(tuner)
    for tuner.position.step in range(1, 10):
        keeper.step(tuner)
    assert written == [3, 6, 9]
    tuner.position.step = 10
    keeper.epoch(tuner)
    for tuner.position.step in (11, 12, 13):
        keeper.step(tuner)
    assert written == [3, 6, 9, 10, 13]
    keeper.end(tuner)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_disk_use_is_bounded(keep, tmp_path, monkeypatch):
    "One more than are kept, while the newest is written; also of runs that were here before."
    folder, most = saved(tmp_path, *range(100, 105), keep_last=5), []
    write = keeping.write_checkpoint
    monkeypatch.setattr(
        keeping,
        "write_checkpoint",
        lambda f, state: [write(f, state), most.append(len(list(folder.iterdir())))][0],
    )
    saved(tmp_path, *range(1, 9), keep_last=keep)
    assert [f.name for f in sorted(folder.iterdir())] == [
        f"step-{s:08d}" for s in range(9 - keep, 9)
    ]
    assert max(most[1:]) <= keep + 2  # the lock is the other one


KEEPERS = [
    ({"keep_last": 0}, "keep at least 1 checkpoint"),
    ({"keep_last": -1}, "keep at least 1 checkpoint"),
    ({"every": -1}, "save every 0 seconds or more"),
]


@pytest.mark.parametrize("how, words", KEEPERS)
def test_keepers_that_cannot_be(how, words, tmp_path):
    with pytest.raises(CheckpointError, match=words):
        Checkpointer(tmp_path, **how)


def test_the_same_step_twice_never_loses_both(tmp_path, monkeypatch):
    """After the last update of an epoch, and after its validation; death at every call of the
    file system.
    """
    for n in range(1, 50):
        out = tmp_path/str(n)
        saved(out, 3, 4, keep_last=1)
        with monkeypatch.context() as m:
            calls, tuner, keeper = dying(m, n), Fake(), Checkpointer(out, "auto", keep_last=1)
            tuner.position.step = 4
            try:
                keeper.start(tuner)
                keeper.save(tuner)
            except Death:
                pass
        keeper.lock.release()
        assert resumed(out, keep_last=1) == 4
        assert len(list((out/"checkpoints").iterdir())) == 1
        if len(calls) < n: break
    assert n > 10


def test_what_a_killed_process_left_is_swept_up(tmp_path):
    folder = saved(tmp_path, 1)
    for name in (".step-00000002.new", ".step-00000000.gone", ".step-00000002.4711"):
        (folder / name).mkdir()
        (folder / name / "tensors.safetensors").write_bytes(b"half")
    assert resumed(tmp_path) == 1 and [f.name for f in folder.iterdir()] == ["step-00000001"]


def test_what_a_living_process_writes_is_left_alone(lives, whole):
    "A second run in the same folder is refused, and the first does not notice."
    out = lives.root/"shared"
    saved(out, 1)
    shutil.rmtree(out/"checkpoints"/"step-00000001")
    keeper = Checkpointer(out)
    keeper.start(Fake())
    (out/"checkpoints"/".step-00000001.new").mkdir()
    assert lives.live("shared") == 1
    assert (
        f"CheckpointError: Another process is training in {out}. Wait until it has ended"
        in lives.said("shared")
    )
    assert lives.left("shared") == [".step-00000001.new"]
    keeper.end(None)
    ends_alike(lives, "shared", whole)


def test_a_run_that_saved_nothing_leaves_no_folder(tmp_path):
    saved(tmp_path)
    assert not (tmp_path/"checkpoints").exists()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks at the memory map of Linux")
def test_a_resumed_run_lets_go_of_the_files(tmp_path):
    """A mapped file keeps its place on the disk after it is deleted, and a cut one kills who
    reads on.
    """
    folder = saved(tmp_path, 1)
    state = read_checkpoint(folder/"step-00000001")
    assert "step-00000001" not in Path("/proc/self/maps").read_text()
    assert state["w"].tolist() == [1, 1]


def test_two_names_for_one_tensor(tmp_path):
    "Tied weights, parts of one tensor, turned and empty ones."
    w = torch.arange(6.).reshape(2, 3)
    tree = {
        "w": w, "tied": w, "row": w[1], "turned": w.T, "none": torch.empty(0),
        "nothing": torch.empty(0), "number": torch.tensor(2.0),
    }
    back = read_checkpoint(write_checkpoint(tmp_path/"step-1", tree))
    assert all(torch.equal(back[k], v) for k, v in tree.items())


# --- a bad disk ---

def copies(source, tmp_path):
    "Fresh copies of a folder, one after the other."
    while True:
        shutil.rmtree(tmp_path/"copy", ignore_errors=True)
        yield shutil.copytree(source, tmp_path/"copy")


def test_the_newest_cut_or_changed_at_every_byte(tmp_path, said):
    folder = saved(tmp_path/"run", 1, 2)
    newest, n = folder/"step-00000002", 0
    for f in sorted(newest.iterdir()):
        good = f.read_bytes()
        for bad in (
            b
            for i in range(len(good))
            for b in (good[:i], good[:i] + bytes([good[i] ^ (1 << i % 8)]) + good[i + 1 :])
        ):
            f.write_bytes(bad)
            assert resumed(tmp_path/"run") == 1, (f.name, bad)
            told = said()
            assert told.startswith("WARNING")
            assert str(newest) in told
            assert told.endswith("The one before it is tried.\n")
            assert len(told.splitlines()) == 1
            n += 1
        f.write_bytes(good)
    assert resumed(tmp_path/"run") == 2 and not said() and n > 600


def rewrite(folder, name, change):
    "Change a file and the manifest with it, as somebody who knows the format would."
    (folder/name).write_bytes(change((folder/name).read_bytes()))
    manifest = json.loads((folder/"manifest.json").read_text())
    manifest["sha256"][name] = keeping.sha256(folder/name)
    (folder/"manifest.json").write_text(json.dumps(manifest))


DAMAGES = {
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "no state": lambda f: (f / "state.json").unlink(),
    "no tensors": lambda f: (f / "tensors.safetensors").unlink(),
    "empty": lambda f: [x.unlink() for x in f.iterdir()],
    "empty tensors": lambda f: (f / "tensors.safetensors").write_bytes(b""),
    "half of the tensors": lambda f: os.truncate(
        f / "tensors.safetensors", os.path.getsize(f / "tensors.safetensors") // 2
    ),
    "zeros after a power cut": lambda f: (f / "tensors.safetensors").write_bytes(
        bytes(os.path.getsize(f / "tensors.safetensors"))
    ),
    "more at the end": lambda f: (f / "state.json").write_text(
        (f / "state.json").read_text() + " "
    ),
    "a file in its place": lambda f: (shutil.rmtree(f), f.write_bytes(b"checkpoint")),
    "a folder in a file's place": lambda f: (
        (f / "state.json").unlink(),
        (f / "state.json").mkdir(),
    ),
    "another checkpoint's tensors": lambda f: shutil.copy(
        f.with_name("step-00000001") / "tensors.safetensors", f
    ),
    "a later format": lambda f: (f / "manifest.json").write_text(
        (f / "manifest.json").read_text().replace('"format": 2', '"format": 99')
    ),
    "a manifest that is a list": lambda f: (f / "manifest.json").write_text("[]"),
    "no tensors, but the right hash": lambda f: rewrite(
        f, "tensors.safetensors", lambda b: b"no tensors"
    ),
    "no JSON, but the right hash": lambda f: rewrite(f, "state.json", lambda b: b"{"),
    "JSON without end": lambda f: rewrite(f, "state.json", lambda b: b"[" * 10**6),
    "another tree": lambda f: rewrite(f, "state.json", lambda b: b'{"branch": 1}'),
    "a tensor that is not there": lambda f: rewrite(
        f, "state.json", lambda b: b.replace(b'"/w"', b'"/v"')
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_newest_is_damaged(damage, tmp_path, said):
    folder = saved(tmp_path, 1, 2)
    DAMAGES[damage](folder/"step-00000002")
    assert resumed(tmp_path) == 1
    assert said().startswith("WARNING") and (folder/"step-00000002").exists()
    with pytest.raises(CheckpointError, match="step-00000002"):
        read_checkpoint(folder / "step-00000002")
    DAMAGES["no manifest"](folder/"step-00000001")
    with pytest.raises(
        CheckpointError, match="There is no usable checkpoint in .*start again without resume"
    ):
        resumed(tmp_path)
    assert said().count("WARNING") == 2


@pytest.mark.parametrize("there", [False, True])
def test_a_refused_start_leaves_no_folder_behind(there, tmp_path):
    folder = tmp_path / "runs"
    if there: folder.mkdir()
    keeper = Checkpointer(None, resume=folder)
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        keeper.start(Fake())
    keeper.end(Fake())
    assert folder.exists() == there and not list(tmp_path.glob("runs/*"))


def test_a_real_run_goes_on_from_the_one_before(lives, whole):
    assert lives.live("damaged", event="after a step", n=6) < 0
    assert lives.left("damaged") == ["step-00000004", "step-00000005"]
    os.truncate(
        (newest := lives.root / "damaged" / "checkpoints" / "step-00000005")
        / "tensors.safetensors",
        1000,
    )
    ends_alike(lives, "damaged", whole)
    assert lives.said("damaged").count("The one before it is tried.") == 1
    assert str(newest) in lives.said("damaged")


# --- a full disk ---

def test_the_disk_refuses_at_every_call_in_turn(tmp_path, monkeypatch):
    """One sentence; the checkpoint before is whole; nothing half done is left; once there is
    room, the run goes on.
    """
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    rust = SafetensorError("I/O error: No space left on device (os error 28)")
    refusals = []
    for owner, names, error in (
        (os, ("mkdir", "fsync", "replace"), full), (Path, ("write_text",), full),
        (keeping, ("save_file",), rust),
    ):
        for n in range(1, 20):
            out = tmp_path/f"{names[0]}-{n}"
            folder, tuner, keeper = saved(out, 1), Fake(), Checkpointer(out, "auto")
            keeper.start(tuner)
            tuner.position.step = 2
            with monkeypatch.context() as m:
                calls = dying(m, n, owner, names, error)
                try:
                    keeper.save(tuner)
                except CheckpointError as e:
                    refusals.append(str(e))
            keeper.end(tuner)
            assert {f.name for f in folder.iterdir()} <= {"step-00000001", "step-00000002"}
            assert read_checkpoint(folder/"step-00000001")
            assert resumed(out) in (1, 2)
            if len(calls) < n: break
    assert len(refusals) == 7 + 2 + 1  # a folder, five flushes, a rename; two texts; the tensors
    for message in refusals:
        assert (
            "step-00000002 could not be written: " in message
            and "No space left on device" in message
            and "Earlier checkpoints are intact; free some space" in message
        )


def test_a_file_that_may_not_grow(lives, whole):
    "A limit of the kernel, which any user can set; the write fails in the middle of the tensors."
    assert lives.live("limit", event="the disk takes no large file") == 1
    assert lives.left("limit") == ["step-00000002", "step-00000003"]
    assert "CheckpointError: The checkpoint " in (said := lives.said("limit"))
    assert "could not be written: " in said
    assert "File too large" in said
    assert "Earlier checkpoints are intact" in said
    ends_alike(lives, "limit", whole)


def test_a_disk_that_is_really_full(lives, whole):
    "Room for two checkpoints and a half."
    size = sum(
        f.stat().st_size for f in (lives.root / "whole" / "checkpoints" / "step-00000009").iterdir()
    )
    (disk := lives.root/"disk").mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", "-o", *options, "none", str(disk)]
        return subprocess.run(command, capture_output=True).returncode

    try:
        if mount(f"size={int(2.5 * size)}"):
            pytest.skip("mounting a small disk needs root")
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    try:
        assert lives.live("disk") == 1 and len(lives.left("disk")) == 2
        assert "No space left on device" in lives.said("disk")
        assert "Earlier checkpoints are intact" in lives.said("disk")
        assert mount(f"remount,size={5 * size}") == 0
        ends_alike(lives, "disk", whole)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# --- Ctrl-C ---

@pytest.mark.parametrize("event", ["Ctrl-C", "Ctrl-C in evaluation"])
def test_interrupted(event, lives, whole):
    name = event.replace(" ", "-")
    assert lives.live(name, event=event) == 0
    assert "Interrupted after" in lives.said(name)
    assert not (lives.root/f"{name}.json").exists()
    ends_alike(lives, name, whole)


@pytest.fixture(scope="module")
def command(lives):
    "command(name): how to fine-tune in a folder; and the weights of an uninterrupted run."
    ROWS.to_csv(table := lives.root/"rows.csv", index=False)

    def words(name):
        return [
            "fine-tune", table, "--task", "kill_run:DroppedWords", "--model", lives.checkpoint,
            "--out", lives.root / name, "--epochs", 3, "--batch-size", 8, "--certify-size", 0,
        ]

    assert lives.type("typed", words("typed")) == 0
    words.weights = lambda name: load_file(lives.root/name/"model.safetensors")
    return words


@pytest.mark.parametrize(
    "event", ["Ctrl-C", "Ctrl-C twice in a step", "Ctrl-C twice in a checkpoint write"]
)
def test_ctrl_c_on_the_command_line(event, lives, command):
    "Exit code 130, and nothing half written; the second Ctrl-C does not wait."
    name = f"typed-{event.replace(' ', '-')}"
    assert lives.type(name, command(name), event=event) == 130
    said = "Continue with: --resume auto" if event == "Ctrl-C" else "interrupted"
    assert said in lives.said(name)
    assert len(lives.left(name)) == 2
    assert all(read_checkpoint(lives.root/name/"checkpoints"/s) for s in lives.left(name))
    assert lives.type(name, [*command(name), "--resume", "auto"]) == 0
    assert same(command.weights("typed"), command.weights(name))
    assert not (lives.root/name/"checkpoints").exists()


@pytest.mark.parametrize("event", ["before the new run is whole", "while it is moved"])
def test_killed_while_the_model_is_saved(event, lives, command):
    "The checkpoints are deleted only when the run is whole; a move that was begun is finished."
    name = event.replace(" ", "-")
    assert lives.type(name, command(name), event=event, n=1) == -signal.SIGKILL
    assert not (lives.root/name/"sft_nb.json").exists()
    assert lives.type(name, [*command(name), "--resume", "auto"]) == 0
    assert same(command.weights("typed"), command.weights(name))
    assert not list((lives.root/name).glob(".*"))
    assert not (lives.root/name/"checkpoints").exists()


CELL = """
import time, sys; sys.path.insert(0, {tests!r})
from kill_run import *
from sft_nb.training.watching import Curve
class Slow(Curve):
    def step(self, run): print("update", run.position.step, flush=True); time.sleep(.2)
tuner = FineTuner(DroppedWords(), {checkpoint!r}, RECIPE, out={out!r}, device="cpu")
tuner.fit(TRAIN, VALID, listeners=[Slow()]);
"""
AFTER = """
answers = tuner.predict(["a warm film", "two hours of noise"])
again = FineTuner(DroppedWords(), {checkpoint!r}, RECIPE, out={out!r}, device="cpu")
again.fit(TRAIN, VALID, resume="auto", listeners=[Lines()])
print(json.dumps([tuner.interrupted, tuner.position.step, len(answers), summary(again)]))
"""


def test_the_stop_button_of_a_notebook(lives, whole, tmp_path):
    """A real kernel is interrupted in the middle of fit:

    no traceback, a tuner that answers, and a run that can go on.
    """
    from jupyter_client.manager import start_new_kernel
    places = {
        "tests": str(Path(__file__).parent), "checkpoint": lives.checkpoint,
        "out": str(tmp_path / "run"),
    }
    manager, client = start_new_kernel(
        kernel_name="python3", env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    )
    messages = []

    def hear(message):
        messages.append(message["content"])
        if "update 4" in message["content"].get("text", ""): manager.interrupt_kernel()

    def run(cell):
        messages.clear()
        reply = client.execute_interactive(cell.format(**places), timeout=180, output_hook=hear)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(m.get("text", "") for m in messages)

    try:
        assert "Interrupted after" in run(CELL)
        interrupted, step, answers, result = json.loads(run(AFTER).splitlines()[-1])
        assert interrupted and 4 <= step < 9 and answers == 2 and result == whole
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


# --- a loss that is no number ---

@dataclass
class Poison(Method):
    "From its second meeting on, row 7 spoils the loss of its batch."
    spoil: str = "nan"
    def prepare(self, model):
        self.met, self.before = 0, []
        return model
    def after(self, model):
        self.before.append({k: v.clone() for k, v in model.state_dict().items()})

    def objective(self, inner, task):
        change = {
            "nan": lambda v: v * math.nan, "explode": lambda v: v * 1e6,
            "jump": lambda v: v * 20, "gradient": lambda v: v + (v - v).sqrt(),
        }[self.spoil]
        def spoilt(model, batch):
            here = 7 in batch.index.tolist()
            self.met += here
            sums, outputs = inner(model, batch)
            if here and self.met > 1: sums = {k: change(v) for k, v in sums.items()}
            return sums, outputs
        return spoilt


@pytest.fixture
def gone_wrong(tiny, tmp_path):
    "gone_wrong(spoil, valid): the tuner of a run that stopped, and what it said."
    def fit(spoil, valid=VALID):
        tuner = FineTuner(
            DroppedWords(), tiny("bert"), RECIPE.but(methods=(Poison(spoil),)),
            out=tmp_path / "run", device="cpu",
        )
        with pytest.raises(TrainingError) as e:
            tuner.fit(TRAIN, valid)
        return tuner, str(e.value)
    return fit


@pytest.mark.parametrize(
    "spoil, words",
    [
        ("nan", "Not a finite number: {'loss': nan} at update"),
        ("gradient", "Not a finite number: {'gradient norm': nan} at update"),
        ("explode", "The loss has exploded: "),
    ],
)
def test_a_loss_that_is_no_number_or_explodes(spoil, words, gone_wrong, tmp_path):
    """The update and the rows of its batch are named, and shown; the tuner holds the best
    weights, which can be used and saved.
    """
    tuner, message = gone_wrong(spoil)
    batches = tuner.run.examples.batches(RECIPE.batch_size, epoch=1, window=RECIPE.length_window)
    at = next(i for i, rows in enumerate(batches) if 7 in rows)
    a, b, c, d = sorted(batches[at].tolist())
    assert message.startswith(words)
    assert (
        f"at update {4 + at}, on training rows {a}, {b}, {c} and {d} (counting from 0; "
        "`tuner.trouble` holds them)"
        in message
    )
    assert "smaller learning rate" in message
    assert message.endswith(
        "The tuner holds the weights of epoch 1, the best so far: they can be used and saved."
    )
    pd.testing.assert_frame_equal(tuner.trouble, TRAIN.iloc[[a, b, c, d]])
    assert same(tuner.recipe.methods[0].before[2], tuner.model.state_dict())
    assert not tuner.model.training
    assert alike(
        FineTuner.load(tuner.save(tmp_path / "saved"), device="cpu").predict(["a warm film"]),
        tuner.predict(["a warm film"]),
    )


def test_the_weights_before_the_update_where_no_best_were_kept(gone_wrong):
    tuner, message = gone_wrong("nan", valid=None)
    assert message.endswith("The tuner holds the weights before this update.")
    assert same(tuner.recipe.methods[0].before[-1], tuner.model.state_dict())
    assert tuner.predict(["a warm film"])


def test_it_goes_wrong_at_the_same_update_again(gone_wrong, tmp_path):
    "Whoever resumes meets the same batch; the checkpoints before it are whole."
    tuner, message = gone_wrong("nan")
    left = list((tmp_path / "run" / "checkpoints").iterdir())
    assert left and all(map(read_checkpoint, left))
    with pytest.raises(TrainingError) as e:
        tuner.fit(TRAIN, VALID, resume=None)
    assert str(e.value) == message
    tuner.recipe = RECIPE
    assert tuner.fit(TRAIN, VALID).trouble is None


def test_a_jump_is_no_explosion(tiny):
    "Noise, a hard batch, an outlier: twenty times the usual loss is not a reason to stop."
    tuner = FineTuner(
        DroppedWords(), tiny("bert"), RECIPE.but(methods=(Poison("jump"),)), device="cpu"
    ).fit(TRAIN, VALID)
    assert tuner.position.epoch == 3 and max(s["loss"] for s in tuner.history.steps) > 10


# --- another place ---

def test_another_version_is_named_and_the_run_goes_on(lives, whole):
    assert lives.live("moved", event="after a step") < 0
    newest = lives.root/"moved"/"checkpoints"/"step-00000004"
    state = read_checkpoint(newest)
    assert state["surroundings"]["torch"] == torch.__version__
    assert {"device", "precision", "threads", "numpy", "transformers"} <= state[
        "surroundings"
    ].keys()
    write_checkpoint(
        newest,
        state | {"surroundings": state["surroundings"] | {"torch": "1.13.1", "threads": "64"}},
    )
    ends_alike(lives, "moved", whole)
    assert (
        f"this run began elsewhere (torch: 1.13.1 then, {torch.__version__} now; threads: 64 then, "
        f"{torch.get_num_threads()} now). It goes on"
        in lives.said("moved")
    )


def test_a_checkpoint_that_does_not_fit(tiny, tmp_path):
    "Written by something else, or by hand."
    recipe, out = RECIPE.but(epochs=1), tmp_path / "run"

    def fit(**how):
        return FineTuner(DroppedWords(), tiny("bert"), recipe, out, "cpu").fit(TRAIN, **how)

    fit()
    newest = max((tmp_path/"run"/"checkpoints").iterdir())
    state = read_checkpoint(newest)
    for change in (
        {"model": {k: v[..., :1] for k, v in state["model"].items()}},
        {"position": {"page": 3}},
        {"history": "{"},
        {"optimizer": None},
    ):
        write_checkpoint(newest, state | change)
        with pytest.raises(CheckpointError, match="does not fit this model .* Start again"):
            fit(resume="auto")
    write_checkpoint(newest, {k: v for k, v in state.items() if k != "recipe"})
    with pytest.raises(CheckpointError, match="does not fit"):
        fit(resume="auto")
