"""Pictures as people have them: nested folders, odd endings, sets in parts, classes that a file declares, small pictures."""
import json
import os
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import boxed, shapes
from PIL import Image

from sft_nb.all import DataError, FineTuner, ImageClassification, ObjectDetection, Recipe, TextClassification, split
from sft_nb.cli import main
from sft_nb.data import check_splits
from sft_nb.task import CheckpointError
from sft_nb.tasks.images import own_size, size_for

CASES = Path(__file__).parent / "inputs"
SHORT = Recipe(epochs=1, learning_rate=1e-3, batch_size=8, precision="fp32", keep_best=False)


def folder_of(files, here):
    "Pictures of 24 by 16 pixels under these names; a file of another kind where the ending is no picture's."
    for i, name in enumerate(files):
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((16, 24, 3), 10 * i % 250, np.uint8)
        kind = {".png": "PNG", ".webp": "WEBP", ".avif": "AVIF", ".jp2": "JPEG2000"}.get(path.suffix.lower(), "JPEG")
        if path.suffix.lower() in (".heic", ".svg", ".txt", ".docx"): path.write_bytes(b"no picture for Pillow")
        else: Image.fromarray(pixels).save(path, kind)
    return here


def classes(rows): return rows.label.value_counts().to_dict()


# --- folders ---

FOLDERS = {
    "a folder inside a class": (["cat/a.jpg", "cat/more/b.jpg", "dog/c.jpg", "bird/set1/x.jpg", "bird/set1/y.jpg"], {"cat": 2, "dog": 1, "bird": 2}, []),
    "three deep": (["cat/2020/may/a.png", "dog/b.png"], {"cat": 1, "dog": 1}, []),
    "endings that Pillow reads": (["cat/a.jfif", "cat/b", "dog/c.avif", "dog/d.jp2", "dog/e.JPE"], {"cat": 2, "dog": 3}, []),
    "endings that nobody reads": (["cat/a.jpg", "cat/b.heic", "cat/c.svg", "dog/d.jpg"], {"cat": 1, "dog": 1}, ["2 files left out", "1 .heic", "1 .svg", "cat/b.heic"]),
    "a class without a picture": (["cat/a.jpg", "dog/b.jpg", "bird/c.heic", "bird/d.heic"], {"cat": 1, "dog": 1}, ["2 files left out", "'bird'", "no such class"]),
    "hidden files": (["cat/a.jpg", "cat/.b.jpg", "dog/c.jpg", ".cache/x.jpg"], {"cat": 1, "dog": 1}, ["1 file left out", "cat/.b.jpg"]),
    "litter of systems": (["cat/a.jpg", "cat/.DS_Store", "cat/Thumbs.db", "dog/b.jpg", "dog/._b.jpg", "__MACOSX/cat/a.jpg"], {"cat": 1, "dog": 1}, []),
    "upper case": (["cat/a.JPG", "dog/b.PNG"], {"cat": 1, "dog": 1}, []),
    "a class called test": (["test/a.jpg", "car/b.jpg", "bus/c.jpg"], {"test": 1, "car": 1, "bus": 1}, []),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_no_picture_and_no_class_is_lost_in_silence(case, tmp_path, said):
    files, wanted, words = FOLDERS[case]
    rows = ImageClassification().read(folder_of(files, tmp_path / "D"))
    told = said()
    assert classes(rows) == wanted
    assert all(word in told for word in words), told
    assert words or "left out" not in told


def test_given_folders(said):
    assert classes(ImageClassification().read(CASES / "i03-unknown-endings" / "D")) == {"bird": 1, "cat": 2, "dog": 2}
    assert "2 files left out" in (told := said()) and ".heic" in told and ".avif" in told
    assert classes(ImageClassification().read(CASES / "i04-nested-class" / "D")) == {"bird": 2, "cat": 2, "dog": 1}
    assert classes(ImageClassification().read(CASES / "i05i-tiff-jp2" / "D")) == {"a": 1, "b": 1}
    assert "1 file left out" in (told := said()) and "a/c.jp2" in told
    assert classes(ImageClassification().read(CASES / "k03-image-flow" / "D")) == {"bird": 12, "cat": 12, "dog": 12}


def test_two_ways_of_writing_one_name(tmp_path, said):
    names = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    rows = ImageClassification().read(folder_of([f"{names[0]}/a.jpg", f"{names[1]}/b.jpg", "tea/c.jpg"], tmp_path))
    assert classes(rows) == {names[0]: 2, "tea": 1} and "they are one class" in said()


def test_a_link_that_goes_round_in_a_circle(tmp_path):
    folder_of(["cat/a.jpg", "dog/b.jpg"], tmp_path / "D")
    os.symlink(tmp_path / "D" / "cat", tmp_path / "D" / "cat" / "again")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "D" / "dog", tmp_path / "elsewhere" / "dog")
    os.symlink(tmp_path / "elsewhere" / "dog", tmp_path / "D" / "dog")
    assert classes(ImageClassification().read(tmp_path / "D")) == {"cat": 1, "dog": 1}


# --- parts ---

PARTS = {"train and val": ("train", "val"), "train, valid, test": ("train", "valid", "test"), "long names": ("training", "validation"), "two without train": ("val", "test")}


@pytest.mark.parametrize("names", PARTS.values(), ids=PARTS)
def test_a_set_in_parts_is_read_one_part_at_a_time(names, tmp_path):
    root = folder_of([f"{part}/{label}/{i}.jpg" for part in names for label in ("cat", "dog") for i in range(2)], tmp_path / "D")
    with pytest.raises(DataError) as e: ImageClassification().read(root)
    assert all(str(root / part) in str(e.value) for part in names) and f"--part {names[0]}" in str(e.value) if names[0].startswith("train") else True
    for part in names:
        by_setting, by_folder = ImageClassification(part=part).read(root), ImageClassification().read(root / part)
        assert classes(by_setting) == {"cat": 2, "dog": 2} and list(by_setting.image) == list(by_folder.image)
    with pytest.raises(DataError, match="has no part 'elsewhere'"): ImageClassification(part="elsewhere").read(root)


def test_a_part_is_forgotten_after_training(tmp_path, tiny):
    "A run that learned from train must not quietly read train again where all of the set is given."
    root = folder_of([f"{part}/{label}/{i}.jpg" for part in ("train", "test") for label in ("cat", "dog") for i in range(4)], tmp_path / "D")
    task = ImageClassification(part="train")
    assert task.learn(task.read(root)).part == ""


# --- what is no picture ---

def test_places_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name, reason in (("pipe.png", "a pipe or a device"), ("folder.png", "it is a folder"), ("gone.png", "no such file")):
        rows = [{"image": str(tmp_path / name), "label": "a"}]
        with pytest.raises(DataError, match=f"{name}: .*{reason}"): ImageClassification().read(rows)
        boxes = [{"image": str(tmp_path / name), "boxes": []}]
        with pytest.raises(DataError, match=f"{name}: .*{reason}"): ObjectDetection().read(boxes)


def test_a_pipe_in_a_folder_of_pictures_is_left_out(tmp_path, said):
    folder_of(["cat/a.jpg", "dog/b.jpg"], tmp_path)
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    assert classes(ImageClassification().read(tmp_path)) == {"cat": 1, "dog": 1} and "cat/pipe.jpg" in said()


SETTINGS = {"size": {"height": 1_000_000, "width": 1_000_000}, "image_mean": "grey", "image_std": [0.0, 0.5, 0.5], "crop_size": {"height": -3, "width": 5}}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("task, checkpoint", [(ImageClassification, "resnet"), (ObjectDetection, "rt-detr")])
def test_settings_of_a_processor_that_cannot_be_meant(name, task, checkpoint, tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny(checkpoint), folder)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: SETTINGS[name]}))
    rows = boxed(4, empty=0) if task is ObjectDetection else pd.DataFrame({"image": shapes(4), "label": ["a", "b"] * 2})
    with pytest.raises(CheckpointError, match=name): task().learn(rows).build(str(folder))


# --- how large ---

def test_sizes_are_multiples_and_not_too_small():
    assert [size_for(side) for side in (1, 28, 64, 65, 96, 97, 500)] == [64, 64, 64, 96, 96, 128, 512]


def seen_at(task, pictures, checkpoint):
    learned = task.learn(pd.DataFrame({"image": pictures, "label": ["a", "b"] * (len(pictures) // 2)}))
    model, processor = learned.build(str(checkpoint))
    return own_size(processor)


@pytest.fixture(scope="module")
def large(tmp_path_factory, tiny):
    "Checkpoints whose own size is 224."
    def make(name):
        folder = tmp_path_factory.mktemp("large") / name
        shutil.copytree(tiny(name), folder)
        file = folder / "preprocessor_config.json"
        about = json.loads(file.read_text())
        about["size"] = {"shortest_edge": 256} if about.get("do_center_crop") else {"shortest_edge": 224}
        if about.get("do_center_crop"): about["crop_size"] = {"height": 224, "width": 224}
        file.write_text(json.dumps(about))
        return folder
    return make


@pytest.mark.parametrize("name", ["efficientnet-lite", "resnet"])
def test_small_pictures_are_not_blown_up(name, large, said):
    assert seen_at(ImageClassification(), shapes(4, 28), large(name)) == 64
    assert "28 pixels" in (told := said()) and "64 × 64" in told and "--size 224" in told
    assert seen_at(ImageClassification(), [np.zeros((20, 100, 3), np.uint8)] * 4, large(name)) == 128
    said()
    assert seen_at(ImageClassification(), shapes(4, 300), large(name)) == 224, "never above the checkpoint's own"
    assert seen_at(ImageClassification(size=96), shapes(4, 28), large(name)) == 96
    assert not said(), "what was asked for, or is as ever, needs no word"


def test_a_network_with_positions_keeps_its_size(tiny):
    assert seen_at(ImageClassification(), shapes(4, 8), tiny("vit")) == 32


def test_the_size_survives_saving(large, tmp_path, said):
    rows = pd.DataFrame({"image": shapes(8, 28), "label": ["a", "b"] * 4})
    tuner = FineTuner(ImageClassification(), str(large("efficientnet-lite")), SHORT).fit(rows)
    said()
    again = FineTuner.load(tuner.save(tmp_path / "run"))
    assert own_size(again.processor) == own_size(tuner.processor) == 64 and not said()
    assert [p.value for p in again.predict(list(rows.image))] == [p.value for p in tuner.predict(list(rows.image))]


# --- classes that are declared ---

def hub_parquet(path, names, labels):
    "As the datasets library writes it: numbers, and their names in the schema."
    import pyarrow as pa
    import pyarrow.parquet as pq
    note = {"info": {"features": {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": names, "_type": "ClassLabel"}}}}
    table = pa.table({"text": [f"text {i}" for i in range(len(labels))], "label": labels})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(note)}), path)
    return path


def test_names_of_classes_in_a_parquet_file(tmp_path):
    rows = TextClassification().read(hub_parquet(tmp_path / "x.parquet", ["neg", "pos", "none"], [0, 1] * 10))
    assert classes(rows) == {"neg": 10, "pos": 10} and rows.attrs["classes"] == ["neg", "pos", "none"]
    parts = split(rows, valid_size=4, certify_size=4)
    assert TextClassification().learn(parts.train).labels == ["neg", "pos", "none"]


def test_declared_classes_and_a_class_that_training_lacks(tiny, tmp_path, said):
    rows = pd.DataFrame({"image": shapes(12), "label": ["a", "b"] * 6})
    task = ImageClassification(classes="a, b, c")
    parts = split(task.read(rows), valid_size=4, certify_size=0)
    strange = replace(parts, valid=parts.valid.assign(label="c"))
    found = [f for f in check_splits(task, strange) if "'c'" in f.message]
    assert [f.level for f in found] == ["warning"] and "1 of 3 declared classes" in found[0].message
    said()
    tuner = FineTuner(task, tiny("efficientnet-lite"), SHORT).fit(parts.train, strange.valid)
    assert "1 of 3 classes has no training row ('c')" in said()
    again = FineTuner.load(tuner.save(tmp_path / "run"))
    assert again.task.labels == ["a", "b", "c"] and again.evaluate(strange.valid).n == 4
    with pytest.raises(DataError, match="'b' is none of the 1 classes"): FineTuner(ImageClassification(classes=["a"]), tiny("efficientnet-lite"), SHORT).fit(parts.train)


def test_without_a_declaration_a_lacking_class_is_an_error():
    rows = pd.DataFrame({"image": shapes(12), "label": ["a", "b"] * 6})
    task = ImageClassification()
    parts = split(task.read(rows), valid_size=4, certify_size=0)
    found = check_splits(task, replace(parts, valid=parts.valid.assign(label="c")))
    assert [f.level for f in found if "'c'" in f.message] == ["error"]


def test_labels_that_were_renamed_after_reading_win(tmp_path):
    rows = TextClassification().read(hub_parquet(tmp_path / "x.parquet", ["neg", "pos"], [0, 1] * 10))
    renamed = rows.assign(label=rows.label.map({"neg": "bad", "pos": "good"}))
    assert TextClassification().learn(renamed).labels == ["bad", "good"]


def test_baselines_know_only_what_they_saw():
    "Columns of a baseline are the classes that it saw, and keep their names."
    rows = pd.DataFrame({"image": shapes(20), "label": ["b", "c"] * 10})
    task = ImageClassification(classes="a, b, c").learn(rows)
    answers = task.baselines()["pixels"](rows, rows, rows)
    assert {p.value for p in answers} <= {"b", "c"} and all(p.probs["a"] == 0 for p in answers)
