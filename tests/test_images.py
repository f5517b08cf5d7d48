"""Pictures: every layout from files written as their authors write them, every way in which a
file can be broken, the same draw after a restart.
"""
import csv
import io
import json
import pickle
import struct
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import same_weights, shapes
from PIL import Image

from sft_nb.all import DataError, FineTuner, ImageClassification, Recipe, read_table, split
from sft_nb.batches.batching import Examples
from sft_nb.data.hashes import row_hashes
from sft_nb.data.leaks import check_splits
from sft_nb.data.table_facts import about
from sft_nb.task import CheckpointError
from sft_nb.training.watching import Listener
from sft_nb.tasks.images.processors import resize_to, scaled, sized
from sft_nb.tasks.images.base import Images
from sft_nb.tasks.images.folders import read_cifar
from sft_nb.tasks.images.pictures import Picture, open_picture

SHORT = Recipe(epochs=2, learning_rate=1e-3, batch_size=4, precision="fp32", keep_best=False)


@pytest.fixture
def folder(tmp_path):
    "A folder per class, as ImageNet has: train/n0…/….JPEG."
    for i, picture in enumerate(shapes(16)):
        place = tmp_path / "train" / ("n01440764", "n01443537")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{place.name}_{i}.JPEG")
    return tmp_path / "train"


# --- layouts ---

def test_a_folder_per_class(folder):
    rows = ImageClassification().read(folder)
    assert rows.label.value_counts().to_dict() == {"n01440764": 8, "n01443537": 8}
    assert all(isinstance(p, Picture) and p.trouble is None for p in rows.image)


def test_the_folder_above_is_named(folder):
    with pytest.raises(DataError, match="give the folder .*train"):
        ImageClassification().read(folder.parent)


def test_pictures_beside_folders_are_ambiguous(folder):
    Image.new("RGB", (9, 9)).save(folder / "stray.png")
    with pytest.raises(DataError, match="stray.png.*beside folders"):
        ImageClassification().read(folder)


def test_a_folder_without_folders_has_no_answers(folder):
    with pytest.raises(DataError, match="without answers"):
        ImageClassification().read(folder / "n01440764")
    assert len(ImageClassification().read(folder / "n01440764", labelled=False)) == 8


def test_paths_count_from_the_folder_of_the_table(folder, tmp_path, monkeypatch):
    names = [f"train/{p.parent.name}/{p.name}" for p in sorted(folder.rglob("*.JPEG"))]
    pd.DataFrame({"image": names, "label": [n.split("/")[1] for n in names]}).to_csv(
        tmp_path / "rows.csv", index=False
    )
    monkeypatch.chdir("/")
    rows = ImageClassification().read(tmp_path / "rows.csv")
    assert len(rows) == 16 and all(p.trouble is None for p in rows.image)


def python2(v):
    "A pickle as Python 2 wrote it: texts are byte strings, arrays name numpy.core."
    if isinstance(v, bytes): return b"T" + struct.pack("<i", len(v)) + v
    if isinstance(v, int): return b"J" + struct.pack("<i", v)
    if isinstance(v, list): return b"](" + b"".join(map(python2, v)) + b"e"
    if isinstance(v, dict):
        return b"}(" + b"".join(python2(k) + python2(x) for k, x in v.items()) + b"u"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n("
    empty += python2(0) + b"t" + python2(b"b") + b"tR("
    dtype = b"cnumpy\ndtype\n(" + python2(b"u1") + python2(0) + python2(1) + b"tR("
    dtype += python2(3) + python2(b"|") + b"NNN" + python2(-1) + python2(-1) + python2(0) + b"tb"
    shape = b"(" + b"".join(map(python2, v.shape)) + b"t"
    return empty + python2(1) + shape + dtype + b"\x89" + python2(v.tobytes()) + b"tb"


def cifar(folder, labels=(6, 9, 9, 6), start=1):
    pixels = np.random.default_rng(start).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    batch = {
        b"batch_label": b"training batch", b"labels": list(labels), b"data": pixels,
        b"filenames": [b"x.png"] * len(labels),
    }
    (folder / f"data_batch_{start}").write_bytes(b"\x80\x02" + python2(batch) + b".")
    return pixels


def test_cifar(tmp_path):
    one, two = cifar(tmp_path), cifar(tmp_path, (0, 1), 2)
    (tmp_path / "batches.meta").write_bytes(
        b"\x80\x02"
        + python2(
            {
                b"label_names": [
                    b"airplane", b"automobile", *[b"x"] * 4, b"frog", b"horse", b"ship",
                    b"truck",
                ]
            }
        )
        + b"."
    )
    rows = ImageClassification().read(tmp_path)
    assert rows.label.tolist() == ["frog", "truck", "truck", "frog", "airplane", "automobile"]
    assert (rows.image[4] == two[0].reshape(3, 32, 32).transpose(1, 2, 0)).all()
    assert (rows.image[0][0, 0] == one[0][[0, 1024, 2048]]).all()
    (tmp_path / "batches.meta").unlink()
    assert ImageClassification().read(tmp_path / "data_batch_2").label.tolist() == ["0", "1"]


@pytest.mark.parametrize(
    "harm",
    [
        b"cos\nsystem\n(" + python2(b"true") + b"tR.",
        b"cbuiltins\neval\n(" + python2(b"1") + b"tR.",
        b"cnumpy\nload\n.",
        pickle.dumps(np.array([{1: 2}], dtype=object)),
    ],
)
def test_a_pickle_that_wants_more_is_not_opened(tmp_path, harm):
    (tmp_path / "data_batch_1").write_bytes(harm)
    with pytest.raises(DataError, match="data_batch_1"):
        read_cifar(tmp_path / "data_batch_1")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02}.",
        b"\x80\x02" + python2({b"data": np.zeros((1, 9), np.uint8), b"labels": [0]}) + b".",
    ],
)
def test_a_batch_that_is_none(tmp_path, content):
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match="test_batch is no batch"):
        ImageClassification().read(tmp_path / "test_batch")


def test_pixels_in_a_table(tmp_path):
    pd.DataFrame({"image": [p[:9, :9].tolist() for p in shapes(4)], "label": [1, 2, 1, 2]}).to_json(
        tmp_path / "rows.jsonl", orient="records", lines=True
    )
    assert (
        np.asarray(
            open_picture(ImageClassification().read(tmp_path / "rows.jsonl").image[1])
        ).tolist()
        == shapes(4)[1][:9, :9].tolist()
    )


def test_parquet_of_pictures(tmp_path):
    def png(p):
        b = io.BytesIO()
        Image.fromarray(p).save(b, "PNG")
        return b.getvalue()
    pd.DataFrame(
        {"image": [{"bytes": png(p), "path": None} for p in shapes(4)], "label": ["a", "b"] * 2}
    ).to_parquet(tmp_path / "rows.parquet")
    rows = ImageClassification().read(tmp_path / "rows.parquet")
    assert np.asarray(open_picture(rows.image[2])).tolist() == shapes(4)[2].tolist()


# --- what can be wrong ---

def chunk(kind, data):
    "A part of a PNG."
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width, height, bits, data):
    "A PNG whose head says what it likes."
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + body


BROKEN = {
    "short.jpg": "cut short", "short.png": "cut short", "moving.gif": "animation",
    "pages.tif": "several pages", "deep.png": "more than 8 bits",
    "deep_colour.png": "more than 8 bits", "printed.jpg": "CMYK",
    "float.tif": "more than 8 bits", "wide.png": "30,000 × 2 pixels",
    "bomb.png": "more pixels than we decode", "text.png": "no picture that we can read",
    "empty.jpg": "no picture that we can read", "gone.png": "no such file",
}


@pytest.fixture
def broken(tmp_path):
    "A folder with the pictures of BROKEN, and two whole ones."
    picture = Image.fromarray(shapes(1, 200)[0])
    picture.save(tmp_path / "whole.jpg")
    picture.save(tmp_path / "whole.png")
    for suffix in ("jpg", "png"):
        whole = (tmp_path / f"whole.{suffix}").read_bytes()
        (tmp_path / f"short.{suffix}").write_bytes(whole[:3000])
    picture.save(tmp_path / "moving.gif", save_all=True, append_images=[picture.rotate(9)])
    picture.save(tmp_path / "pages.tif", save_all=True, append_images=[picture])
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(tmp_path / "deep.png")
    picture.convert("CMYK").save(tmp_path / "printed.jpg")
    Image.fromarray(np.zeros((9, 9), np.float32)).save(tmp_path / "float.tif")
    Image.new("1", (30_000, 2)).save(tmp_path / "wide.png")
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "bomb.png").write_bytes(raw_png(15_000, 15_000, 8, b"\0" * 99))
    (tmp_path / "deep_colour.png").write_bytes(raw_png(1, 1, 16, b"\0" * 7))
    return tmp_path


@pytest.mark.parametrize("name", BROKEN)
def test_each_is_an_error_that_names_file_and_row(name, broken, recwarn):
    images = [str(broken / n) for n in ("whole.jpg", name, "whole.png")]
    table = pd.DataFrame({"image": images, "label": ["a", "b", "c"]})
    says = rf"1 picture cannot be used \(row 1, .*{name}: .*{BROKEN[name]}"
    with pytest.raises(DataError, match=says):
        ImageClassification().read(table)
    assert not recwarn.list


def test_or_is_left_out_and_counted(broken, said):
    images = [str(broken / n) for n in ("whole.jpg", *BROKEN, "whole.png")]
    table = pd.DataFrame({"image": images, "label": ["a", *"b" * len(BROKEN), "c"]})
    rows = ImageClassification(unreadable="skip").read(table)
    assert rows.label.tolist() == ["a", "c"]
    assert f"{len(BROKEN)} pictures cannot be used" in "".join(about(rows).left_out)
    assert "short.jpg" in said()


def test_rows_to_predict_are_never_left_out(broken, tmp_path):
    with pytest.raises(DataError, match="Every row gets a prediction"):
        ImageClassification(unreadable="skip").read(
            [{"image": str(tmp_path / "short.jpg")}], labelled=False
        )


def test_a_photograph_is_turned_for_a_label_and_refused_for_coordinates(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_picture(tmp_path / "turned.jpg").size == (10, 20)
    with pytest.raises(DataError, match="EXIF"):
        open_picture(tmp_path / "turned.jpg", upright=False)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((5, 5)), np.full((5, 5), 256), np.zeros((3, 9, 9), np.uint8),
        np.zeros(5, np.uint8), np.zeros((0, 5), np.uint8), [[1, 2], [3]], 5, True,
    ],
)
def test_arrays_that_are_no_pictures(image):
    with pytest.raises(DataError, match="row 1"):
        ImageClassification().read(
            pd.DataFrame(
                {"image": pd.Series([shapes(1)[0], image], dtype=object), "label": ["a", "b"]}
            )
        )


@pytest.mark.parametrize(
    "fields, says",
    [
        (dict(size=4), "size=4"), (dict(augment="flip, rotate"), "augment="),
        (dict(unreadable="ignore"), "unreadable="), (dict(image="label"), "also the column"),
        (dict(label_smoothing=2), "label_smoothing"),
    ],
)
def test_settings_that_cannot_be_meant(fields, says):
    with pytest.raises(DataError, match=says):
        ImageClassification(**fields)


# --- the same picture is the same question ---

def test_a_copy_under_another_name_is_found_across_a_split(folder, capsys):
    task, rows = ImageClassification(), ImageClassification().read(folder)
    parts = split(rows, valid_size=4, certify_size=0, seed=0)
    Image.open(parts.train.image[0]).save(folder.parent / "copy.png")
    copy = Picture(folder.parent / "copy.png")
    more = pd.DataFrame({"image": pd.Series([copy], dtype=object), "label": parts.train.label[:1]})
    found = [
        f.message
        for f in check_splits(
            task, replace(parts, valid=pd.concat([parts.valid, more], ignore_index=True))
        )
    ]
    assert any("1 row of valid also in train (row 4 " in m for m in found)
    assert not any("nearly also" in m for m in found), "names of files are no texts"
    assert row_hashes(
        pd.DataFrame({"image": pd.Series([copy], dtype=object)}), ["image"]
    ) == row_hashes(parts.train.head(1), ["image"])


# --- random changes ---

def test_draws_hang_on_seed_epoch_and_row_alone(tiny):
    rows = pd.DataFrame({"image": shapes(6), "label": ["a", "b"] * 3})
    task = ImageClassification(augment="crop, flip, colour").learn(rows)
    processor = task.build(str(tiny("efficientnet-lite")))[1]

    def examples(seed=0): return Examples(task, rows, processor, seed)
    def pixels(e, i, epoch): return e.batch([*i], epoch=epoch).inputs["pixel_values"]

    one, other = examples(), examples()
    assert torch.equal(pixels(one, (0, 3), 2)[1], pixels(other, (5, 3, 1), 2)[1])
    assert not torch.equal(pixels(one, (3,), 2), pixels(one, (3,), 3))
    assert not torch.equal(pixels(one, (3,), 2), pixels(examples(1), (3,), 2))
    assert torch.equal(pixels(one, (3,), None), pixels(one, (3,), None))
    assert not torch.equal(pixels(one, (3,), None), pixels(one, (3,), 2))


def test_a_resumed_run_sees_the_same_pictures(tiny, tmp_path):
    rows, recipe = pd.DataFrame({"image": shapes(12), "label": ["a", "b"] * 6}), SHORT.but(epochs=3)
    task, folder = ImageClassification(augment="crop, flip, colour"), str(tiny("efficientnet-lite"))
    whole = FineTuner(task, folder, recipe).fit(rows)
    class Stop(Listener):
        def step(self, run): run.interrupted = run.position.step == 5
    cut = FineTuner(task, folder, recipe, out=tmp_path / "run").fit(rows, listeners=[Stop()])
    assert cut.interrupted and cut.position.step == 5
    again = FineTuner(task, folder, recipe, out=tmp_path / "run").fit(rows, resume="auto")
    assert same_weights(whole.model, again.model)


# --- processors and models ---

@pytest.mark.parametrize("name", ["vit", "resnet", "convnext", "swin", "efficientnet-lite"])
def test_geometry_and_colours_apart_are_what_the_processor_does(tiny, name):
    from sft_nb.models.loading import load
    processor = load(tiny(name), "image-classification")[1]
    for size in (None, 48):
        resize_to(processor, size)
        pictures = [Image.fromarray(p).resize((50, 70)) for p in shapes(3)]
        apart = scaled(processor, [sized(processor, p) for p in pictures])
        assert torch.allclose(
            apart, processor(images=pictures, return_tensors="pt")["pixel_values"], atol=1e-6
        )
        assert apart.shape == (3, 3, size or 32, size or 32)


def test_a_size_that_a_model_cannot_take_is_said(tiny):
    rows = pd.DataFrame({"image": shapes(4), "label": ["a", "b"] * 2})
    with pytest.raises(
        CheckpointError,
        match="ViTForImageClassification cannot see pictures of this size .*48.*Leave `size` out",
    ):
        FineTuner(ImageClassification(size=48), str(tiny("vit")), SHORT).fit(rows)


def test_the_bundled_network_knows_the_two_photographs():
    from sklearn.datasets import load_sample_images

    from sft_nb.models.loading import load
    model, processor = load("efficientnet-lite0", "image-classification")
    with torch.inference_mode():
        inputs = processor(images=list(load_sample_images().images), return_tensors="pt")
        best, label = model(**inputs).logits.softmax(-1).max(-1)
    assert label.tolist() == [698, 985], "a palace, a daisy"
    assert best.tolist() == pytest.approx([0.380, 0.305], abs=0.01)


@pytest.mark.parametrize("name", ["efficientnet-lite", "vit", "swin"])
def test_states_of_frozen_blocks_are_kept_and_nothing_else_changes(tiny, name):
    rows = pd.DataFrame({"image": shapes(8), "label": ["a", "b"] * 4})
    recipe = SHORT.but(unfreeze_last=0, dropout=0.0)
    fast, slow = (FineTuner(ImageClassification(), str(tiny(name)), recipe) for _ in range(2))
    slow.shortcuts = ()
    assert same_weights(fast.fit(rows).model, slow.fit(rows).model, atol=1e-6)
    assert any("states" in u for u in fast.run.quick.used) or name == "swin"


# --- the command line ---

def test_a_folder_from_training_to_predictions(folder, tiny, tmp_path, sft):
    run = tmp_path / "run"
    sft(
        "fine-tune", folder, "--task", "image-classification", "--model",
        tiny("efficientnet-lite"), "--out", run, "--epochs", 1, "--batch-size", 4,
        "--valid-size", 4, "--certify-size", 4, "--augment", "flip",
    )
    assert len(read_table(run / "certify.csv")) == 4
    judged, _ = sft("evaluate", run, run / "certify.csv", "--json")
    assert json.loads(judged.splitlines()[-1])["n"] == 4
    out, _ = sft("predict", run, folder / "n01443537")
    said = list(csv.DictReader(io.StringIO(out)))
    assert len(said) == 8
    assert {r["prediction"] for r in said} <= {"n01440764", "n01443537"}
    assert said[0]["image"].endswith(".JPEG")
    ours = FineTuner.load(run).predict(str(folder / "n01443537"))
    assert ours.prediction.tolist() == [r["prediction"] for r in said]
    Image.new("RGB", (9, 9)).save(folder.parent / "one.png")
    assert "n0144" in sft("predict", run, "--text", folder.parent / "one.png")[0]


def test_only_what_is_asked_is_done_by_base_class():
    assert Images(augment="flip ,crop").changes == ("flip", "crop") and Images().augments is False
