"""Pictures as people have them:

nested folders, odd endings, sets in parts, classes that a file declares, small pictures.
"""
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

from sft_nb.all import (
    DataError, FineTuner, ImageClassification, ObjectDetection, Recipe, TextClassification,
    split,
)
from sft_nb.commands.cli import main
from sft_nb.data.leaks import check_splits
from sft_nb.data.table_facts import about
from sft_nb.task import CheckpointError, SFTError
from sft_nb.tasks.images.processors import own_size, size_for

CASES = Path(__file__).parent / "inputs"
SHORT = Recipe(epochs=1, learning_rate=1e-3, batch_size=8, precision="fp32", keep_best=False)


def folder_of(files, here):
    """Pictures of 24 by 16 pixels under these names; a file of another kind where the ending is
    no picture's.
    """
    for i, name in enumerate(files):
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((16, 24, 3), 10 * i % 250, np.uint8)
        kind = {".png": "PNG", ".webp": "WEBP", ".avif": "AVIF", ".jp2": "JPEG2000"}.get(
            path.suffix.lower(), "JPEG"
        )
        if path.suffix.lower() in (".heic", ".svg", ".txt", ".docx"):
            path.write_bytes(b"no picture for Pillow")
        else:
            Image.fromarray(pixels).save(path, kind)
    return here


def classes(rows): return rows.label.value_counts().to_dict()


# --- folders ---

FOLDERS = {
    "a folder inside a class": (
        ["cat/a.jpg", "cat/more/b.jpg", "dog/c.jpg", "bird/set1/x.jpg", "bird/set1/y.jpg"],
        {"cat": 2, "dog": 1, "bird": 2},
        [],
    ),
    "three deep": (["cat/2020/may/a.png", "dog/b.png"], {"cat": 1, "dog": 1}, []),
    "endings that Pillow reads": (
        ["cat/a.jfif", "cat/b", "dog/c.avif", "dog/d.jp2", "dog/e.JPE"],
        {"cat": 2, "dog": 3},
        [],
    ),
    "endings that nobody reads": (
        ["cat/a.jpg", "cat/b.heic", "cat/c.svg", "dog/d.jpg"],
        {"cat": 1, "dog": 1},
        ["2 files left out", "1 .heic", "1 .svg", "cat/b.heic"],
    ),
    "a class without a picture": (
        ["cat/a.jpg", "dog/b.jpg", "bird/c.heic", "bird/d.heic"],
        {"cat": 1, "dog": 1},
        ["2 files left out", "'bird'", "no such class"],
    ),
    "hidden files": (
        ["cat/a.jpg", "cat/.b.jpg", "dog/c.jpg", ".cache/x.jpg"],
        {"cat": 1, "dog": 1},
        ["1 file left out", "cat/.b.jpg"],
    ),
    "litter of systems": (
        [
            "cat/a.jpg", "cat/.DS_Store", "cat/Thumbs.db", "dog/b.jpg", "dog/._b.jpg",
            "__MACOSX/cat/a.jpg",
        ],
        {"cat": 1, "dog": 1},
        [],
    ),
    "upper case": (["cat/a.JPG", "dog/b.PNG"], {"cat": 1, "dog": 1}, []),
    "a class called test": (
        ["test/a.jpg", "car/b.jpg", "bus/c.jpg"], {"test": 1, "car": 1, "bus": 1}, [],
    ),
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
    assert classes(ImageClassification().read(CASES / "i03-unknown-endings" / "D")) == {
        "bird": 1, "cat": 2, "dog": 2,
    }
    assert "2 files left out" in (told := said()) and ".heic" in told and ".avif" in told
    assert classes(ImageClassification().read(CASES / "i04-nested-class" / "D")) == {
        "bird": 2, "cat": 2, "dog": 1,
    }
    assert classes(ImageClassification().read(CASES / "i05i-tiff-jp2" / "D")) == {"a": 1, "b": 1}
    assert "1 file left out" in (told := said()) and "a/c.jp2" in told
    assert classes(ImageClassification().read(CASES / "k03-image-flow" / "D")) == {
        "bird": 12, "cat": 12, "dog": 12,
    }


def test_two_ways_of_writing_one_name(tmp_path, said):
    names = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    rows = ImageClassification().read(
        folder_of([f"{names[0]}/a.jpg", f"{names[1]}/b.jpg", "tea/c.jpg"], tmp_path)
    )
    assert classes(rows) == {names[0]: 2, "tea": 1} and "they are one class" in said()


def test_a_link_that_goes_round_in_a_circle(tmp_path):
    folder_of(["cat/a.jpg", "dog/b.jpg"], tmp_path / "D")
    os.symlink(tmp_path / "D" / "cat", tmp_path / "D" / "cat" / "again")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "D" / "dog", tmp_path / "elsewhere" / "dog")
    os.symlink(tmp_path / "elsewhere" / "dog", tmp_path / "D" / "dog")
    assert classes(ImageClassification().read(tmp_path / "D")) == {"cat": 1, "dog": 1}


# --- parts ---

PARTS = {
    "train and val": ("train", "val"),
    "train, valid, test": ("train", "valid", "test"),
    "long names": ("training", "validation"),
    "two without train": ("val", "test"),
}


@pytest.mark.parametrize("names", PARTS.values(), ids=PARTS)
def test_a_set_in_parts_is_read_one_part_at_a_time(names, tmp_path):
    root = folder_of(
        [f"{part}/{label}/{i}.jpg" for part in names for label in ("cat", "dog") for i in range(2)],
        tmp_path / "D",
    )
    with pytest.raises(DataError) as e:
        ImageClassification().read(root)
    assert (
        all(str(root / part) in str(e.value) for part in names)
        and f"--part {names[0]}" in str(e.value)
        if names[0].startswith("train")
        else True
    )
    for part in names:
        by_setting = ImageClassification(part=part).read(root)
        by_folder = ImageClassification().read(root / part)
        assert classes(by_setting) == {"cat": 2, "dog": 2}
        assert list(by_setting.image) == list(by_folder.image)
    with pytest.raises(DataError, match="has no part 'elsewhere'"):
        ImageClassification(part="elsewhere").read(root)


def test_a_part_is_forgotten_after_training(tmp_path, tiny):
    "A run that learned from train must not quietly read train again where all of the set is given."
    root = folder_of(
        [
            f"{part}/{label}/{i}.jpg"
            for part in ("train", "test")
            for label in ("cat", "dog")
            for i in range(4)
        ],
        tmp_path / "D",
    )
    task = ImageClassification(part="train")
    assert task.learn(task.read(root)).part == ""


# --- what is no picture ---

def test_places_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name, reason in (
        ("pipe.png", "a pipe or a device"), ("folder.png", "it is a folder"),
        ("gone.png", "no such file"),
    ):
        rows = [{"image": str(tmp_path / name), "label": "a"}]
        with pytest.raises(DataError, match=f"{name}: .*{reason}"):
            ImageClassification().read(rows)
        boxes = [{"image": str(tmp_path / name), "boxes": []}]
        with pytest.raises(DataError, match=f"{name}: .*{reason}"):
            ObjectDetection().read(boxes)


def test_a_pipe_in_a_folder_of_pictures_is_left_out(tmp_path, said):
    folder_of(["cat/a.jpg", "dog/b.jpg"], tmp_path)
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    assert classes(ImageClassification().read(tmp_path)) == {"cat": 1, "dog": 1}
    assert "cat/pipe.jpg" in said()


SETTINGS = {
    "size": {"height": 1_000_000, "width": 1_000_000},
    "image_mean": "grey",
    "image_std": [0.0, 0.5, 0.5],
    "crop_size": {"height": -3, "width": 5},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(
    "task, checkpoint", [(ImageClassification, "resnet"), (ObjectDetection, "rt-detr")]
)
def test_settings_of_a_processor_that_cannot_be_meant(name, task, checkpoint, tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny(checkpoint), folder)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: SETTINGS[name]}))
    rows = (
        boxed(4, empty=0)
        if task is ObjectDetection
        else pd.DataFrame({"image": shapes(4), "label": ["a", "b"] * 2})
    )
    with pytest.raises(CheckpointError, match=name):
        task().learn(rows).build(str(folder))


# --- how large ---

def test_sizes_are_multiples_and_not_too_small():
    assert [size_for(side) for side in (1, 28, 64, 65, 96, 97, 500)] == [
        64, 64, 64, 96, 96, 128, 512,
    ]


def seen_at(task, pictures, checkpoint):
    learned = task.learn(
        pd.DataFrame({"image": pictures, "label": ["a", "b"] * (len(pictures) // 2)})
    )
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
        about["size"] = (
            {"shortest_edge": 256} if about.get("do_center_crop") else {"shortest_edge": 224}
        )
        if about.get("do_center_crop"): about["crop_size"] = {"height": 224, "width": 224}
        file.write_text(json.dumps(about))
        return folder
    return make


@pytest.mark.parametrize("name", ["efficientnet-lite", "resnet"])
def test_small_pictures_are_not_blown_up(name, large, said):
    assert seen_at(ImageClassification(), shapes(4, 28), large(name)) == 64
    assert "28 pixels" in (told := said()) and "64 × 64" in told and "--size 224" in told
    assert (
        seen_at(ImageClassification(), [np.zeros((20, 100, 3), np.uint8)] * 4, large(name)) == 128
    )
    said()
    assert seen_at(ImageClassification(), shapes(4, 300), large(name)) == 224, (
        "never above the checkpoint's own"
    )
    assert seen_at(ImageClassification(size=96), shapes(4, 28), large(name)) == 96
    assert not said(), "what was asked for, or is as ever, needs no word"


def test_a_network_with_positions_keeps_its_size(tmp_path, said):
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
    about = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=128, patch_size=32, num_labels=5,
    )
    ViTForImageClassification(about).save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 128, "width": 128}).save_pretrained(tmp_path)
    said()
    assert seen_at(ImageClassification(), shapes(4, 28), tmp_path) == 128 and "pixels" not in said()


def test_detectors_do_not_blow_up_small_pictures_either(large, said):
    rows = boxed(4, size=64, empty=0)
    model, processor = ObjectDetection().learn(rows).build(str(large("efficientnet-lite")))
    assert own_size(processor) == 64 and "64 × 64" in said()


def test_the_size_survives_saving(large, tmp_path, said):
    rows = pd.DataFrame({"image": shapes(8, 28), "label": ["a", "b"] * 4})
    tuner = FineTuner(ImageClassification(), str(large("efficientnet-lite")), SHORT).fit(rows)
    said()
    again = FineTuner.load(tuner.save(tmp_path / "run"))
    assert own_size(again.processor) == own_size(tuner.processor) == 64 and not said()
    assert [p.value for p in again.predict(list(rows.image))] == [
        p.value for p in tuner.predict(list(rows.image))
    ]


# --- classes that are declared ---

def hub_parquet(path, names, labels):
    "As the datasets library writes it: numbers, and their names in the schema."
    import pyarrow as pa
    import pyarrow.parquet as pq
    note = {
        "info": {
            "features": {
                "text": {"dtype": "string", "_type": "Value"},
                "label": {"names": names, "_type": "ClassLabel"},
            }
        }
    }
    table = pa.table({"text": [f"text {i}" for i in range(len(labels))], "label": labels})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(note)}), path)
    return path


def test_names_of_classes_in_a_parquet_file(tmp_path):
    rows = TextClassification().read(
        hub_parquet(tmp_path / "x.parquet", ["neg", "pos", "none"], [0, 1] * 10)
    )
    assert classes(rows) == {"neg": 10, "pos": 10}
    assert about(rows).classes == ["neg", "pos", "none"]
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
    with pytest.raises(DataError, match="'b' is none of the 1 classes"):
        FineTuner(ImageClassification(classes=["a"]), tiny("efficientnet-lite"), SHORT).fit(
            parts.train
        )


def test_without_a_declaration_a_lacking_class_is_an_error():
    rows = pd.DataFrame({"image": shapes(12), "label": ["a", "b"] * 6})
    task = ImageClassification()
    parts = split(task.read(rows), valid_size=4, certify_size=0)
    found = check_splits(task, replace(parts, valid=parts.valid.assign(label="c")))
    assert [f.level for f in found if "'c'" in f.message] == ["error"]


def test_labels_that_were_renamed_after_reading_win(tmp_path):
    rows = TextClassification().read(
        hub_parquet(tmp_path / "x.parquet", ["neg", "pos"], [0, 1] * 10)
    )
    renamed = rows.assign(label=rows.label.map({"neg": "bad", "pos": "good"}))
    assert TextClassification().learn(renamed).labels == ["bad", "good"]


def test_baselines_know_only_what_they_saw():
    "Columns of a baseline are the classes that it saw, and keep their names."
    rows = pd.DataFrame({"image": shapes(20), "label": ["b", "c"] * 10})
    task = ImageClassification(classes="a, b, c").learn(rows)
    answers = task.baselines()["pixels"](rows, rows, rows)
    assert len(answers) == 20 and {p.value for p in answers} <= {"b", "c"}
    assert {p.probs["a"] for p in answers} == {0}


# --- boxes: layouts ---

SIZE = (32, 24)


def picture(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def coco(path, *files, boxes=((3, (2, 3, 10, 8)),), categories=((3, "cat"), (90, "dog"))):
    "A COCO file; every picture has the same boxes (category, bbox)."
    images = [
        {"id": i, "file_name": str(name), "width": SIZE[0], "height": SIZE[1]}
        for i, name in enumerate(files, 7)
    ]
    notes = [
        {"image_id": image["id"], "category_id": number, "bbox": bbox}
        for image in images
        for number, bbox in boxes
    ]
    content = {
        "images": images,
        "annotations": [{"id": n, "iscrowd": 0} | note for n, note in enumerate(notes)],
        "categories": [{"id": n, "name": name} for n, name in categories],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def xml(path, filename, box=(3, 4, 12, 11), size=SIZE, label="cat"):
    left, top, right, bottom = box
    sides = {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}
    edges = "".join(f"<{side}>{n}</{side}>" for side, n in sides.items())
    width, height = size
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation><filename>{filename}</filename>"
        f"<size><width>{width}</width><height>{height}</height></size>"
        f"<object><name>{label}</name><bndbox>{edges}</bndbox></object></annotation>"
    )


def text(path, line="0 0.5 0.5 0.25 0.25"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line)


def names(rows): return sorted(Path(p).name for p in rows.image)


def first_box(rows): return rows.boxes[0][0]["xyxy"]


def test_given_layouts(said):
    def read(case, *inside, **fields):
        return ObjectDetection(**fields).read(CASES.joinpath(case, *inside))

    rows = read("d06-ultralytics-coco", "D", "annotations", "instances_train2017.json")
    assert names(rows) == ["a.jpg", "b.jpg"]
    assert (
        first_box(read("d10b-voc-no-extension", "V"))
        == [2, 3, 12, 11]
        == first_box(read("d10g-voc-lower-folders", "V"))
    )
    said()
    assert first_box(read("d10d-voc-size-zero", "V")) == [2, 3, 12, 11] and "0 × 0" in said()
    assert names(read("d10n-voc-picture-without-xml", "V")) == ["a.jpg"]
    assert "2 pictures without an XML file left out (b.jpg, c.jpg)" in said()
    with pytest.raises(DataError, match="--part train"):
        read("d20e-yolo-split-folders", "Y")
    assert (
        names(read("d20e-yolo-split-folders", "Y", part="val"))
        == ["b.jpg"]
        == names(read("d20e-yolo-split-folders", "Y", "images", "val"))
    )


COCO_PLACES = {
    "archives of COCO": ("annotations/instances_train2017.json", "train2017/a.jpg"),
    "inside images": ("annotations/instances_train2017.json", "images/train2017/a.jpg"),
    "without the year": ("annotations/instances_train2017.json", "images/train/a.jpg"),
    "beside the folder": ("train.json", "train/a.jpg"),
    "Roboflow": ("train/_annotations.coco.json", "train/a.jpg"),
    "FiftyOne": ("labels.json", "data/a.jpg"),
    "images beside": ("annotations.json", "images/a.jpg"),
    "another word order": ("annotations_train.json", "train/images/a.jpg"),
    "one folder up": ("annotations/train.json", "a.jpg"),
}


@pytest.mark.parametrize("case", COCO_PLACES)
def test_where_the_pictures_of_a_coco_file_lie(case, tmp_path):
    file, place = COCO_PLACES[case]
    picture(tmp_path / place)
    assert names(ObjectDetection().read(coco(tmp_path / file, "a.jpg"))) == ["a.jpg"]


def test_the_folder_that_the_name_speaks_of_comes_first(tmp_path):
    for part in ("train2017", "val2017"):
        picture(tmp_path / "images" / part / "a.jpg")
        rows = ObjectDetection().read(
            coco(tmp_path / "annotations" / f"instances_{part}.json", "a.jpg")
        )
        assert Path(rows.image[0]).parent.name == part


def test_pictures_somewhere_else_are_named(tmp_path):
    picture(tmp_path / "far" / "off" / "a.jpg")
    file = coco(tmp_path / "set" / "train.json", "a.jpg")
    with pytest.raises(DataError, match="first picture, 'a.jpg'.*--pictures FOLDER"):
        ObjectDetection().read(file)
    assert names(ObjectDetection(pictures=str(tmp_path / "far" / "off")).read(file)) == ["a.jpg"]


def test_a_folder_of_coco_files(tmp_path):
    for part in ("train", "valid"):
        picture(tmp_path / part / f"{part}.jpg")
        coco(tmp_path / part / "_annotations.coco.json", f"{part}.jpg")
    with pytest.raises(DataError, match="--part train"):
        ObjectDetection().read(tmp_path)
    assert (
        names(ObjectDetection(part="valid").read(tmp_path))
        == ["valid.jpg"]
        == names(ObjectDetection().read(tmp_path / "valid"))
    )


VOCS = {
    "usual": ("Annotations/a.xml", "JPEGImages/a.jpg"),
    "small letters": ("annotations/a.xml", "images/a.jpg"),
    "beside": ("a.xml", "a.jpg"),
    "pictures above": ("annotations/a.xml", "a.jpg"),
    "a devkit": ("VOC2012/Annotations/a.xml", "VOC2012/JPEGImages/a.jpg"),
}


@pytest.mark.parametrize("filename", ["a.jpg", "a", "C:\\data\\a.jpg", "/home/me/a.jpg", "a.png"])
@pytest.mark.parametrize("case", VOCS)
def test_where_the_parts_of_a_voc_set_lie(case, filename, tmp_path):
    note, place = VOCS[case]
    picture(tmp_path / place)
    xml(tmp_path / note, filename)
    rows = ObjectDetection().read(tmp_path)
    assert names(rows) == ["a.jpg"] and first_box(rows) == [2, 3, 12, 11]


def test_a_stem_that_two_pictures_have(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    picture(tmp_path / "images" / "a.png")
    xml(tmp_path / "annotations" / "a.xml", "a")
    with pytest.raises(DataError, match="several pictures are called 'a'"):
        ObjectDetection().read(tmp_path)


def test_parts_of_a_voc_set(tmp_path, said):
    for i, part in enumerate(("train", "val")):
        picture(tmp_path / "V" / "JPEGImages" / f"{i}.jpg")
        xml(tmp_path / "V" / "Annotations" / f"{i}.xml", f"{i}.jpg")
        text(tmp_path / "V" / "ImageSets" / "Main" / f"{part}.txt", f"{i} 1\n")
        picture(tmp_path / "R" / part / f"{i}.jpg")
        xml(tmp_path / "R" / part / f"{i}.xml", f"{i}.jpg")
    assert names(ObjectDetection(part="val").read(tmp_path / "V")) == ["1.jpg"]
    assert "left out" not in said()
    assert names(ObjectDetection().read(tmp_path / "V")) == ["0.jpg", "1.jpg"]
    assert "all were read" in said()
    assert names(ObjectDetection(part="val").read(tmp_path / "R")) == ["1.jpg"]
    with pytest.raises(DataError, match="--part train"):
        ObjectDetection().read(tmp_path / "R")


YOLOS = {
    "images, labels": ("images/{}.jpg", "labels/{}.txt", False),
    "parts inside": ("images/train/{}.jpg", "labels/train/{}.txt", True),
    "parts outside": ("train/images/{}.jpg", "train/labels/{}.txt", True),
    "years": ("images/train2017/{}.jpg", "labels/train2017/{}.txt", True),
    "beside": ("{}.jpg", "{}.txt", False),
}


@pytest.mark.parametrize("case", YOLOS)
def test_where_the_parts_of_a_yolo_set_lie(case, tmp_path, said):
    images, labels, parts = YOLOS[case]
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\n")
    def other(place): return place.replace("train", "val")
    for name in "ab":
        picture(tmp_path / images.format(name))
    text(tmp_path / labels.format("a"))
    if parts:
        picture(tmp_path / other(images).format("c"))
        text(tmp_path / other(labels).format("c"))
    rows = ObjectDetection(part="train" if parts else "").read(tmp_path)
    assert names(rows) == ["a.jpg", "b.jpg"] and about(rows).classes == ["cat", "dog"]
    assert "1 picture without a label file (b.jpg): kept as a picture without objects" in said()
    if not parts: return
    with pytest.raises(DataError, match="--part train"):
        ObjectDetection().read(tmp_path)
    with pytest.raises(DataError, match="has no part 'test'"):
        ObjectDetection(part="test").read(tmp_path)


@pytest.mark.parametrize(
    "lines",
    [
        "path: .\ntrain: pics/one\nval: pics/two\n",
        "train: pics/one  # to learn\nval: pics/two\n",
        "path: /nowhere\ntrain: ../pics/one\nval: ../pics/two\n",
    ],
)
def test_places_that_a_yaml_file_names(lines, tmp_path):
    (tmp_path / "set.yaml").write_text(lines + "names:\n  0: cat\n")
    for part in ("one", "two"):
        picture(tmp_path / "pics" / part / f"{part}.jpg")
        text(tmp_path / "pics" / part / f"{part}.txt")
    for source in (tmp_path / "set.yaml", tmp_path):
        assert names(ObjectDetection(part="val").read(source)) == ["two.jpg"]


def test_a_part_that_is_none(tmp_path):
    (tmp_path / "data.yaml").write_text("names: [cat]\n")
    picture(tmp_path / "images" / "a.jpg")
    text(tmp_path / "labels" / "a.txt")
    with pytest.raises(DataError, match="has no parts.*leave part='trian' out"):
        ObjectDetection(part="trian").read(tmp_path)


# --- boxes: over the edge, from 0, names ---

OVER = {
    "four in ten thousand": (1.0004, True), "a pixel": (1.03, True),
    "two pixels": (1.07, False),
}


def cat_in_coco(here, right):
    return coco(here / "x.json", "a.jpg", boxes=[(3, (4, 4, right - 4, 10))])


def cat_in_voc(here, right):
    xml(here / "annotations" / "a.xml", "a.jpg", (5, 5, right, 14))
    return here


def cat_in_yolo(here, right):
    (here / "data.yaml").write_text("names: [cat]\n")
    centre, width = (4 + right) / 2 / 32, (right - 4) / 32
    text(here / "labels" / "a.txt", f"0 {centre} {9 / 24} {width} {10 / 24}")
    return here


def cat_in_table(here, right):
    boxes = [{"label": "cat", "xyxy": [4, 4, right, 14]}]
    return [{"image": str(here / "images" / "a.jpg"), "boxes": boxes}]


# layout -> a function that writes a box there, from 4, 4 to 14 and so far to the right
LAYOUTS = {"coco": cat_in_coco, "voc": cat_in_voc, "yolo": cat_in_yolo, "table": cat_in_table}


@pytest.mark.parametrize("case", OVER)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_small_overhang_is_cut_off_and_told_in_every_layout(case, layout, tmp_path, said):
    "A box over the whole width and a little more: to the right, up to a pixel of 32."
    share, fine = OVER[case]
    picture(tmp_path / "images" / "a.jpg")
    source = LAYOUTS[layout](tmp_path, share * SIZE[0])
    if not fine:
        with pytest.raises(DataError, match="outside"):
            ObjectDetection().read(source)
        return
    task = ObjectDetection()
    rows = task.read(source)
    assert "1 box reaches over the edge of its picture" in said()
    (found,) = task.target(rows.to_dict("records")[0])
    assert found["xyxy"] == pytest.approx([4, 4, 32, 14], abs=1e-6)


def test_a_hundredth_of_a_large_picture(tmp_path):
    Image.new("RGB", (1000, 100)).save(tmp_path / "a.png")

    def read(right):
        boxes = [{"label": "cat", "xyxy": [4, 4, right, 14]}]
        return ObjectDetection().read([{"image": str(tmp_path / "a.png"), "boxes": boxes}])

    assert len(read(1009)) == 1
    with pytest.raises(DataError, match="outside"):
        read(1012)


def test_given_overhangs(said):
    rows = ObjectDetection().read(CASES / "d05-slightly-outside" / "c.json")
    assert "2 boxes reach over the edge of their picture" in said()
    assert first_box(rows) == [22, 3, 32, 11]
    rows = ObjectDetection().read(CASES / "d20b-yolo-outside" / "Y")
    assert "1 box reaches over the edge" in said()
    assert first_box(rows) == pytest.approx([0, 0, 19.457, 24], abs=.01)


def test_rounding_of_floating_point_is_no_news(tmp_path, said):
    picture(tmp_path / "a.jpg")
    ObjectDetection().read(
        coco(tmp_path / "x.json", "a.jpg", boxes=[(3, (2, 3, 30.0000001, 21.0000000001))])
    )
    assert "edge" not in said()


@pytest.mark.parametrize(
    "box, wanted, told",
    [
        ((1, 1, 32, 24), [0, 0, 32, 24], False), ((0, 4, 12, 11), [0, 4, 12, 11], True),
        ((3, 0, 32, 24), [3, 0, 32, 24], True),
    ],
)
def test_boxes_from_0_and_from_1(box, wanted, told, tmp_path, said):
    picture(tmp_path / "images" / "a.jpg")
    xml(tmp_path / "annotations" / "a.xml", "a.jpg", box)
    picture(tmp_path / "images" / "b.jpg")
    xml(tmp_path / "annotations" / "b.xml", "b.jpg", (5, 5, 9, 9))
    rows = ObjectDetection().read(tmp_path)
    assert first_box(rows) == wanted and ("counted from 0 here (1 of 2" in said()) == told
    assert rows.boxes[1][0]["xyxy"] == ([5, 5, 9, 9] if told else [4, 4, 9, 9]), (
        "one rule for the whole set"
    )


def test_two_categories_of_one_name(tmp_path, said):
    picture(tmp_path / "a.jpg")
    rows = ObjectDetection().read(
        coco(
            tmp_path / "x.json",
            "a.jpg",
            boxes=[(3, (2, 3, 5, 5)), (7, (12, 3, 5, 5))],
            categories=((3, "cat"), (7, "cat"), (8, "dog")),
        )
    )
    assert "2 classes are called 'cat' (numbers 3, 7): they are one class" in said()
    assert ObjectDetection().learn(rows).numbers == {"cat": 3, "dog": 8}


@pytest.mark.parametrize("name", [{"a": 1}, ["a"], True, "", " "])
def test_names_that_are_none(name, tmp_path):
    picture(tmp_path / "a.jpg")
    file = coco(tmp_path / "x.json", "a.jpg")
    file.write_text(
        json.dumps(
            json.loads(file.read_text())
            | {"categories": [{"id": 3, "name": name}, {"id": 90, "name": "dog"}]}
        )
    )
    with pytest.raises(DataError, match=r"categories\[0\] has the name"):
        ObjectDetection().read(file)


@pytest.mark.parametrize("place", ["a.json", "images/a.jpg", "labels/a.txt", "annotations/a.xml"])
def test_pipes_among_the_files_of_a_set(place, tmp_path):
    picture(tmp_path / "images" / "b.jpg")
    (tmp_path / "data.yaml").write_text("names: [cat]\n")
    if place == "labels/a.txt": picture(tmp_path / "images" / "a.jpg")
    if place == "images/a.jpg": xml(tmp_path / "annotations" / "a.xml", "a.jpg")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / place)
    source = tmp_path / place if place.endswith(".json") else tmp_path
    with pytest.raises(DataError, match="a pipe or a device"):
        ObjectDetection().read(source)


def test_a_json_that_is_no_coco_file(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match="x.json is not a COCO file: it needs the lists images"):
        ObjectDetection().read(tmp_path / "x.json")


# --- boxes: classes that the file lists ---

@pytest.fixture
def many(tmp_path):
    "128 pictures, 80 classes, a box or two in each: a random part lacks some of them."
    rng, files = np.random.default_rng(0), [f"{i}.png" for i in range(128)]
    for i, name in enumerate(files):
        Image.fromarray(np.full((64, 64, 3), 2 * i, np.uint8)).save(tmp_path / name)
    images = [{"id": i, "file_name": name} for i, name in enumerate(files)]
    notes = [
        {
            "id": i, "image_id": i, "category_id": 2 * int(rng.integers(80)) + 1,
            "bbox": [4, 4, 20, 20], "iscrowd": 0,
        }
        for i in range(128)
    ]
    categories = [{"id": 2 * k + 1, "name": f"class {k:02}"} for k in range(80)]
    (tmp_path / "set.json").write_text(
        json.dumps({"images": images, "annotations": notes, "categories": categories})
    )
    return tmp_path / "set.json"


def test_all_classes_that_a_coco_file_lists(many, tiny, tmp_path, said):
    task = ObjectDetection(size=64)
    parts = split(task.read(many), valid_size=.2, certify_size=.2)
    assert len(about(parts.train).classes) == 80
    found = check_splits(task, parts)
    assert "error" not in {f.level for f in found}
    assert any("declared classes" in f.message for f in found)
    said()
    tuner = FineTuner(task, tiny("efficientnet-lite"), SHORT).fit(parts.train, parts.valid)
    assert "of 80 classes have no training row" in said()
    again = FineTuner.load(tuner.save(tmp_path / "run"))
    assert len(again.task.labels) == 80 and again.task.numbers["class 79"] == 159
    assert again.evaluate(parts.certify).n == len(parts.certify)


def test_all_classes_of_a_yolo_and_a_voc_set(tmp_path):
    (tmp_path / "Y").mkdir()
    (tmp_path / "Y" / "data.yaml").write_text("names: [cat, dog, bird]\n")
    for i in range(4):
        picture(tmp_path / "Y" / "images" / f"{i}.jpg")
        text(tmp_path / "Y" / "labels" / f"{i}.txt")
        picture(tmp_path / "V" / "JPEGImages" / f"{i}.jpg")
        xml(tmp_path / "V" / "Annotations" / f"{i}.xml", f"{i}.jpg", label=f"class {i}")
    for folder, wanted in (("Y", ["bird", "cat", "dog"]), ("V", [f"class {i}" for i in range(4)])):
        rows = ObjectDetection().read(tmp_path / folder)
        assert ObjectDetection().learn(rows.head(2)).labels == wanted
    assert ObjectDetection(classes="cat, dog").learn(
        ObjectDetection().read(tmp_path / "Y")
    ).labels == ["cat", "dog"]


def test_a_table_lists_the_classes_that_stand_in_it():
    rows = boxed(20, seed=3)
    one = next(i for i, b in enumerate(rows.boxes) if b)
    read = ObjectDetection().read(rows)
    assert ObjectDetection().learn(read.iloc[[one]]).labels == ["lying", "square", "standing"]


# --- a network that says nothing ---

@pytest.mark.parametrize("name", ["efficientnet-lite", "conditional-detr", "rt-detr"])
def test_weights_that_are_no_numbers(name, tiny, tmp_path):
    from safetensors.torch import load_file, save_file
    rows = boxed(4, seed=1, empty=0)
    run = FineTuner(ObjectDetection(size=64), tiny(name), SHORT).fit(rows).save(tmp_path / "run")
    weights = load_file(run / "model.safetensors")
    save_file(
        {k: v * float("nan") if v.is_floating_point() else v for k, v in weights.items()},
        run / "model.safetensors",
        {"format": "pt"},
    )
    for ask in (lambda t: t.predict(list(rows.image)), lambda t: t.evaluate(rows)):
        with pytest.raises(SFTError, match="NaN"):
            ask(FineTuner.load(run))
    with pytest.raises(SFTError, match="[Nn]ot a finite number|NaN"):
        FineTuner(ObjectDetection(size=64), str(run), SHORT).fit(rows)


# --- from the command line ---

def test_parts_on_the_command_line(tiny, tmp_path, capsys):
    root = folder_of(
        [
            f"{part}/{label}/{i}.jpg"
            for part in ("train", "val")
            for label in ("cat", "dog")
            for i in range(6)
        ],
        tmp_path / "D",
    )
    def sft(*argv):
        with pytest.raises(SystemExit) as e:
            main([str(a) for a in argv])
        return (e.value.code or 0), "".join(capsys.readouterr())
    base = (
        "fine-tune", root, "--task", "image-classification", "--model",
        tiny("efficientnet-lite"), "--out", tmp_path / "run", "--epochs", 1, "--batch-size", 4,
    )
    code, said = sft(*base)
    assert code == 2 and "--part train" in said
    code, said = sft(
        *base, "--part", "train", "--valid", root / "val", "--certify", root / "val",
        "--classes", "cat,dog,bird",
    )
    assert code == 0 and "'bird'" in said, said
    assert FineTuner.load(tmp_path / "run").task.labels == ["cat", "dog", "bird"]
