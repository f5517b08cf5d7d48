"""Boxes: conventions, measures, COCO's figures, and the three layouts of files with every
mistake that we know of.
"""
import io
import json
import time
from contextlib import redirect_stdout

import numpy as np
import pandas as pd
import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sft_nb.data.table_facts import about
from sft_nb.task import DataError
from sft_nb.tasks.detection.average_precision import coco_figures, coco_table
from sft_nb.tasks.detection.boxes import FORMATS, Boxes, box_entries, draw_boxes, giou, iou, nms
from sft_nb.tasks.detection.coco import read_coco, write_coco_results
from sft_nb.tasks.detection.formats import detection_layout
from sft_nb.tasks.detection.object_detection import ObjectDetection
from sft_nb.tasks.detection.voc import read_voc
from sft_nb.tasks.detection.yolo import read_yolo

SIZE = (64, 48)
THREE = {"label": "three", "xyxy": [8., 6., 24., 22.]}
SEVEN = {"label": "seven", "xyxy": [40., 26., 56., 42.]}


def refused(f, *args, words, **kwargs):
    with pytest.raises(DataError) as e:
        f(*args, **kwargs)
    message = str(e.value)
    assert all(w in message for w in words), f"\nsaid:   {message}\nwanted: {words}"
    assert len(message) < 700 and "\n" not in message
    return message


# --- the type ---

MANY = st.lists(strategies.boxes(), min_size=1, max_size=20)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("relative", [False, True])
@given(MANY)
def test_there_and_back(format, relative, corners):
    given_ = Boxes(corners, "xyxy", size=(61, 61))
    there = given_.to(format, relative)
    assert there == given_ and (there.format, there.relative) == (format, relative)
    assert np.allclose(there.to("xyxy").values, corners)


def unpack(boxes):
    first, *_ = boxes
    return first


READS = {
    "asarray": np.asarray, "list": list, "index": lambda b: b[0], "slice": lambda b: b[:1],
    "unpack": unpack, "values": lambda b: b.values, "stack": lambda b: np.stack([b, b]),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_numbers_are_not_read_without_a_format(read):
    refused(
        read,
        Boxes([[1, 2, 3, 4]], "xywh"),
        words=["xywh", "left, top, width, height", '.to("xyxy").values'],
    )


def test_boxes_hold_still_and_compare():
    boxes = Boxes([[1, 2, 3, 4]], "xywh", size=(10, 10))
    assert len(boxes) == 1
    assert boxes == Boxes([[1, 2, 4, 6]], "xyxy")
    assert boxes != Boxes([[1, 2, 3, 4]], "xyxy")
    assert boxes != Boxes([], "xyxy")
    with pytest.raises(ValueError, match="read-only"):
        boxes.to("xyxy").values[0] = 1
    with pytest.raises(TypeError):
        hash(boxes)
    with pytest.raises((DataError, ValueError)):
        torch.tensor(boxes)
    refused(Boxes([[.1, .2, .3, .4]], "xywh", True).to, "xyxy", words=["size"])
    refused(Boxes, [[1, 2, 3]], "xyxy", words=["four numbers", "(1, 3)"])
    refused(Boxes, [[1, 2, 3, 4]], "coco", words=["'coco'", "xyxy, xywh, cxcywh"])


# --- a cell of a table ---

def test_cells():
    for key, four in (
        ("xyxy", [8, 6, 24, 22]), ("xywh", [8, 6, 16, 16]), ("cxcywh", [16, 14, 16, 16]),
        ("xyxy_relative", [0.125, 0.125, 0.375, 22 / 48]),
        ("xywh_relative", [0.125, 0.125, 0.25, 1 / 3]),
        ("cxcywh_relative", [0.25, 14 / 48, 0.25, 1 / 3]),
    ):
        absent = dict.fromkeys({"xyxy", "xywh"} - {key})  # as Parquet fills them in
        arrow = {"label": "3", key: np.array(four)} | absent
        for cell in (
            [{"label": 3, key: four}],
            json.dumps([{"label": "3", key: four}]),
            np.array([arrow], dtype=object),
        ):
            labels, found = box_entries(cell, SIZE)
            assert labels == ["3"] and found == Boxes([THREE["xyxy"]], "xyxy")
    assert all(len(box_entries(cell, SIZE)[1]) == 0 for cell in ([], "[]", np.array([])))
    _, over = box_entries([{"label": "a", "xywh": [-0.9, 40, 65.8, 8.9]}], SIZE)
    assert over == Boxes([[0, 40, 64, 48]], "xyxy")


def test_parquet_and_csv(tmp_path):
    two = [{"label": "a", "xyxy": [1, 2, 3, 4]}, {"label": "b", "xywh": [1, 2, 3, 4]}]
    rows = pd.DataFrame({"boxes": [two, []]})
    rows.to_parquet(tmp_path/"t.parquet")
    rows.assign(boxes=rows.boxes.map(json.dumps)).to_csv(tmp_path/"t.csv")
    for back in (pd.read_parquet(tmp_path/"t.parquet"), pd.read_csv(tmp_path/"t.csv")):
        assert box_entries(back.boxes[0], SIZE)[1] == Boxes([[1, 2, 3, 4], [1, 2, 4, 6]], "xyxy")
        assert len(box_entries(back.boxes[1], SIZE)[1]) == 0


CELLS = {
    "no format": ({"label": "a", "bbox": [1, 2, 3, 4]}, ["no format", "'bbox'", "xywh"]),
    "two formats": (
        {"label": "a", "xyxy": [1, 2, 3, 4], "xywh": [1, 2, 2, 2]},
        ["two formats", "Exactly one"],
    ),
    "three numbers": (
        {"label": "a", "xywh": [1, 2, 3]},
        ["xywh [1, 2, 3]", "four finite numbers", "left, top, width, height"],
    ),
    "not a number": ({"label": "a", "xyxy": [1, 2, float("nan"), 4]}, ["four finite numbers"]),
    "infinite": ({"label": "a", "xyxy": [1, 2, float("inf"), 4]}, ["four finite numbers"]),
    "huge": ({"label": "a", "xyxy": [1, 2, 10**400, 4]}, ["four finite numbers"]),
    "text": ({"label": "a", "xyxy": ["1", "2", "3", "4"]}, ["four finite numbers"]),
    "truth value": ({"label": "a", "xyxy": [1, 2, True, 4]}, ["four finite numbers"]),
    "reversed": (
        {"label": "a", "xyxy": [20, 2, 3, 4]},
        ["[20, 2, 3, 4]", "empty or reversed", "right side (3)", "left side (20)"],
    ),
    "upside down": ({"label": "a", "xyxy": [1, 9, 3, 4]}, ["bottom side (4)", "top side (9)"]),
    "empty": ({"label": "a", "xywh": [1, 2, 0, 4]}, ["empty or reversed"]),
    "outside": (
        {"label": "a", "xywh": [40, 26, 56, 42]},
        ["[40, 26, 56, 42]", "outside", "64 pixels wide and 48 high"],
    ),
    "wholly outside": ({"label": "a", "xyxy": [64, 2, 64.9, 9]}, ["outside"]),
    "pixels as shares": (
        {"label": "a", "xyxy_relative": [1, 2, 3, 4]},
        ["outside", "shares from 0 to 1"],
    ),
    "shares as pixels": (
        {"label": "a", "cxcywh": [0.5, 0.5, 0.1, 0.1]},
        ["between 0 and 1", "cxcywh_relative"],
    ),
    "no label": ({"xyxy": [1, 2, 3, 4]}, ["no label"]),
    "empty label": ({"label": " ", "xyxy": [1, 2, 3, 4]}, ["no label"]),
    "missing label": ({"label": float("nan"), "xyxy": [1, 2, 3, 4]}, ["no label"]),
    "a list": ([1, 2, 3, 4], ["[1, 2, 3, 4] is not a box"]),
}


@pytest.mark.parametrize("case", CELLS)
def test_wrong_entries(case):
    entry, words = CELLS[case]
    refused(
        box_entries,
        [{"label": "a", "xyxy": [1, 2, 3, 4]}, entry],
        SIZE,
        words=["entry 1 (counting from 0)", *words],
    )


@pytest.mark.parametrize(
    "cell", [None, float("nan"), "", "[{", "{}", 3, {"label": "a"}, "[" * 10**6]
)
def test_wrong_cells(cell):
    refused(box_entries, cell, SIZE, words=["[]"])


# --- measures ---

@given(MANY, MANY)
def test_iou_is_that_of_pycocotools(some, others):
    a, b = Boxes(some, "xyxy"), Boxes(others, "xyxy")
    theirs = mask.iou(a.to("xywh").values, b.to("xywh").values, [0] * len(b))
    assert np.allclose(iou(a, b), theirs)


def test_iou_of_nothing():
    assert iou(torch.zeros(0, 4), torch.zeros(2, 4)).shape == (0, 2)
    assert iou([[1, 1, 1, 1]], [[1, 1, 1, 1]]).item() == 0


@given(st.lists(st.tuples(strategies.boxes(), strategies.boxes()), min_size=1, max_size=20))
def test_giou_is_that_of_transformers(pairs):
    from transformers.loss.loss_for_object_detection import generalized_box_iou
    a, b = torch.tensor(pairs).float().unbind(1)
    assert torch.allclose(giou(a, b), generalized_box_iou(a, b).diagonal(), atol=1e-6)


def test_giou_has_a_slope():
    far = torch.tensor([[0., 0, 1, 1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(giou, (far, torch.tensor([[5., 6, 8, 9]], dtype=torch.float64)))
    assert torch.autograd.grad(giou(far, [[5, 6, 8, 9]]), far)[0].abs().max() > 0


def test_nms():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [30, 30, 40, 40], [0, 0, 10, 10]]
    scores = [.5, .9, .1, .9]
    assert nms(boxes, scores).tolist() == [1, 2]
    assert nms(boxes, scores, .95).tolist() == [1, 3, 2]
    assert nms(boxes, scores, labels=list("abca")).tolist() == [1, 3, 2]
    assert nms([], []).tolist() == []
    at_the_threshold = nms([[0, 0, 4, 4], [0, 0, 4, 2]], [0.1, 0.2], 0.5)
    assert at_the_threshold.tolist() == [1, 0], "both stay"
    refused(nms, boxes, [0.5], words=["4 boxes", "1 scores"])
    refused(nms, boxes, [0.5, float("nan"), 1, 1], words=["finite"])


# --- average precision ---

def xywh(b):
    left, top, right, bottom = b["xyxy"]
    return [left, top, right - left, bottom - top]


def with_pictures(scene):
    "(number of the picture, thing) of all of them."
    return [(i, thing) for i, many in enumerate(scene, 1) for thing in many]


def plain_figures(answers, truths, labels):
    "The official way: two JSONs, loadRes, summarize."
    def entry(i, thing):
        category = labels.index(thing["label"]) + 1
        return {"image_id": i, "category_id": category, "bbox": xywh(thing)}

    notes = [entry(i, t) for i, t in with_pictures(truths)]
    for n, note in enumerate(notes, 1):
        note.update(id=n, iscrowd=0, area=note["bbox"][2] * note["bbox"][3])
    results = [entry(i, a) | {"score": a["score"]} for i, a in with_pictures(answers)]
    gt = COCO()
    gt.dataset = {
        "images": [{"id": i} for i, _ in enumerate(truths, 1)],
        "categories": [{"id": k} for k, _ in enumerate(labels, 1)],
        "annotations": notes,
    }
    with redirect_stdout(io.StringIO()):
        gt.createIndex()
        judge = COCOeval(gt, gt.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [np.nan if s == -1 else s for s in judge.stats[:6]]


def share(p, q):
    "Intersection over union, written out."
    width = min(p[2], q[2]) - max(p[0], q[0])
    height = min(p[3], q[3]) - max(p[1], q[1])
    both = max(width, 0) * max(height, 0)
    areas = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1])
    return both / (areas - both)


def precisions(ranked, free, threshold):
    "(right so far, their share of what was said so far), after every answer."
    free, right = list(free), 0
    for seen, (i, p) in enumerate(ranked, 1):
        fitting = [(share(p, q), n) for n, (j, q) in enumerate(free) if i == j]
        best, at = max(fitting, key=lambda f: f[0], default=(0, None))
        if best >= threshold:
            del free[at]
            right += 1
        yield right, right / seen


def own_ap(answers, truths, label, threshold):
    "A class and a threshold, written out."
    said = [(i, a) for i, a in with_pictures(answers) if a["label"] == label]
    said = sorted(said, key=lambda pair: -pair[1]["score"])
    free = [(i, t["xyxy"]) for i, t in with_pictures(truths) if t["label"] == label]
    if not free: return np.nan
    points = list(precisions([(i, a["xyxy"]) for i, a in said], free, threshold))

    def best_from(recall):
        return max((p for right, p in points if right / len(free) >= recall), default=0)

    return np.mean([best_from(recall) for recall in np.linspace(0, 1, 101)])


@settings(max_examples=50)
@given(strategies.scenes())
def test_figures_are_those_of_pycocotools_and_of_a_loop(scene):
    (answers, truths), labels, steps = scene, list("abc"), np.linspace(.5, .95, 10)
    found, table = coco_figures(answers, truths, labels), coco_table(answers, truths, labels)
    if any(answers):
        theirs = plain_figures(answers, truths, labels)
        np.testing.assert_allclose(list(found.values()), theirs, atol=1e-12)
    by_hand = [[own_ap(answers, truths, label, t) for t in steps] for label in labels]
    by_hand = [[np.mean(ap), ap[0], ap[5]] for ap in by_hand]
    np.testing.assert_allclose(table[["ap", "ap50", "ap75"]], by_hand, atol=1e-12)
    assert table.boxes.sum() == sum(map(len, truths)) and list(table.index) == labels


def test_figures_print_nothing(capfd):
    coco_figures([[THREE | {"score": .5}]], [[SEVEN]], ["three", "seven"])
    assert capfd.readouterr() == ("", "")


def test_figures_at_the_edges():
    nothing, box = coco_figures([[]], [[]], ["a"]), {"label": "a", "xyxy": [0, 0, 50, 50]}
    assert list(nothing) == ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]
    assert all(np.isnan(v) for v in nothing.values())
    assert coco_figures([[], []], [[box], []], ["a"])["ap"] == 0
    assert np.isnan(coco_figures([[box | {"score": .5}]], [[]], ["a"])["ap"])
    found = coco_figures([[box | {"score": .5}]], [[box]], ["a", "b"])
    assert found["ap"] == found["ap_medium"] == pytest.approx(1) and np.isnan(found["ap_small"])
    refused(
        coco_figures, [[]], [[], []], ["a"],
        words=["Predictions for 1 picture", "targets for 2 pictures"]
    )
    refused(coco_figures, [[box]], [[box]], ["a"], words=["prediction 0 of picture 0", "'score'"])
    refused(coco_figures, [[]], [[]], ["b", "b"], words=["twice"])
    refused(coco_figures, [[]], [[box]], ["b"], words=["target 0 of picture 0", "'a'"])
    refused(
        coco_figures, [[box | {"score": float("nan")}]], [[box]], ["a"],
        words=["not a finite number"],
    )


# --- layouts ---

def paint(folder, names=("000001.jpg", "000002.jpg", "000003.jpg")):
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", SIZE).save(folder / name)


def coco_note(number, image_id, category_id, bbox, area=256.0, crowd=0):
    return {
        "segmentation": {} if crowd else [], "area": area, "iscrowd": crowd, "image_id": image_id,
        "bbox": bbox, "category_id": category_id, "id": number,
    }


@pytest.fixture
def coco(tmp_path):
    paint(tmp_path / "val2017")
    (tmp_path / "annotations").mkdir()
    content = {
        "info": {"year": 2017},
        "licenses": [],
        "images": [
            {"license": 1, "id": i, "file_name": f"00000{n}.jpg", "width": 64, "height": 48}
            for n, i in ((2, 139), (1, 285), (3, 632))
        ],
        "categories": [
            {"supercategory": "digit", "id": 3, "name": "three"},
            {"supercategory": "digit", "id": 90, "name": "seven"},
        ],
        "annotations": [
            coco_note(1, 285, 3, [8, 6, 16, 16]),
            coco_note(2, 285, 90, [40.0, 26.0, 16.0, 16.0]),
            coco_note(3, 139, 90, [0, 0, 60, 40], area=9.0, crowd=1),
        ],
    }
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps(content))
    return path, content


XML = """<annotation>
\t<folder>VOC2007</folder>
\t<filename>{}</filename>
\t<size>
\t\t<width>64</width>
\t\t<height>48</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>0</segmented>
{}</annotation>
"""
OBJECT = """\t<object>
\t\t<name>{}</name>
\t\t<pose>Left</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>{}</difficult>
\t\t<bndbox>
\t\t\t<xmin>{}</xmin>
\t\t\t<ymin>{}</ymin>
\t\t\t<xmax>{}</xmax>
\t\t\t<ymax>{}</ymax>
\t\t</bndbox>
\t\t<part><name>head</name><bndbox>\
<xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
\t</object>
"""


@pytest.fixture
def voc(tmp_path):
    root = tmp_path/"VOC2007"
    paint(root/"JPEGImages")
    (root/"Annotations").mkdir()
    (root / "Annotations" / "000001.xml").write_text(
        XML.format(
            "000001.jpg",
            OBJECT.format("three", 0, 9, 7, 24, 22) + OBJECT.format("seven", 0, 41, 27, 56, 42),
        )
    )
    (root / "Annotations" / "000002.xml").write_text(
        XML.format("000002.jpg", OBJECT.format("seven", 1, 1, 1, 64, 48))
    )
    (root/"Annotations"/"000003.xml").write_text(XML.format("000003.jpg", ""))
    return root


@pytest.fixture
def yolo(tmp_path):
    root = tmp_path/"digits"
    paint(root/"images")
    (root/"labels").mkdir()
    (root/"data.yaml").write_text("train: images\nnc: 2\nnames: ['three', 'seven']\n")
    (root / "labels" / "000001.txt").write_text(
        "0 0.25 0.2916667 0.25 0.3333333\n1 0.75 0.7083333 0.25 0.3333333\n"
    )
    (root/"labels"/"000002.txt").write_text("")
    return root


def same(rows, folder):
    assert list(rows) == ["image", "boxes", "size"]
    assert rows.image.tolist() == [str(folder/f"00000{n}.jpg") for n in (1, 2, 3)]
    assert rows["size"].tolist() == [SIZE] * 3
    assert rows.boxes.tolist()[1:] == [[], []]
    assert [b["label"] for b in rows.boxes[0]] == ["three", "seven"]
    assert np.allclose(
        [b["xyxy"] for b in rows.boxes[0]], [THREE["xyxy"], SEVEN["xyxy"]], atol=1e-3
    )
    for boxes, size in zip(rows.boxes, rows["size"], strict=True):
        box_entries(boxes, size)


def test_the_three_layouts_say_the_same(coco, voc, yolo, tmp_path):
    same(read_coco(coco[0]), tmp_path / "val2017")
    same(read_voc(voc), voc / "JPEGImages")
    same(read_yolo(yolo), yolo / "images")
    assert "left out: crowds (iscrowd), 1." in about(read_coco(coco[0])).remarks
    assert "left out: difficult objects, 1." in about(read_voc(voc)).remarks
    assert "1 picture without a label file" in about(read_yolo(yolo)).remarks[-1]
    assert read_voc(voc, difficult=True).boxes[1] == [
        {"label": "seven", "xyxy": [0.0, 0.0, 64.0, 48.0]}
    ]


def test_what_a_reader_left_out_is_told_with_its_table_too(coco, said):
    task = ObjectDetection()
    whole, table = task.read(coco[0]), task.read(read_coco(coco[0]))
    assert said().count("left out: crowds (iscrowd), 1.") == 2
    assert about(table).classes == about(whole).classes
    assert about(table).numbers == about(whole).numbers
    assert not (about(table).remarks or about(table).ids or about(whole).ids)


def test_layouts_are_told_apart(coco, voc, yolo, tmp_path):
    file, picture_folder = coco[0], tmp_path / "val2017"
    assert list(map(detection_layout, (file, file.parent))) == [read_coco] * 2
    places = (voc, voc / "Annotations", voc.parent)
    assert list(map(detection_layout, places)) == [read_voc] * 3
    assert list(map(detection_layout, (yolo, yolo / "data.yaml"))) == [read_yolo] * 2
    note = voc / "Annotations" / "000001.xml"
    others = (tmp_path / "none", picture_folder, voc / "JPEGImages", note)
    assert list(map(detection_layout, others)) == [None] * 4


@pytest.mark.parametrize("place", ["annotations", "annotations/images", "images", "elsewhere"])
def test_coco_pictures_are_found(coco, tmp_path, place):
    paint(tmp_path/"new")
    (tmp_path/"val2017").rename(tmp_path/"gone")
    for p in (tmp_path / "new").iterdir():
        (tmp_path / place).mkdir(exist_ok=True)
        p.rename(tmp_path / place / p.name)
    if place == "elsewhere": refused(read_coco, coco[0], words=["000002.jpg", "pictures="])
    same(read_coco(coco[0], tmp_path/place if place == "elsewhere" else None), tmp_path/place)


def change(kind, at, **keys):
    def f(content):
        content[kind][at] = {k: v for k, v in (content[kind][at] | keys).items() if v != "gone"}
    return f


COCOS = {
    "unknown category": (
        change("annotations", 1, category_id=4),
        ["annotations[1] (id 2)", "category_id 4", "categories"],
    ),
    "unknown picture": (
        change("annotations", 1, image_id=7),
        ["annotations[1] (id 2)", "image_id 7", "images"],
    ),
    "no bbox": (change("annotations", 0, bbox="gone"), ["annotations[0] (id 1)", "'bbox'"]),
    "no category": (
        change("annotations", 0, category_id="gone"),
        ["annotations[0] (id 1)", "'category_id'"],
    ),
    "a list for an id": (
        change("annotations", 0, image_id=[285]),
        ["annotations[0]", "image_id [285]"],
    ),
    "xyxy": (
        change("annotations", 1, bbox=[40, 26, 56, 42]),
        ["annotations[1] (id 2)", "outside", "left, top, width, height"],
    ),
    "shares": (
        change("annotations", 1, bbox=[0.4, 0.2, 0.5, 0.4]),
        ["annotations[1] (id 2)", "between 0 and 1"],
    ),
    "negative width": (
        change("annotations", 1, bbox=[40, 26, -5, 4]),
        ["annotations[1] (id 2)", "reversed"],
    ),
    "null bbox": (change("annotations", 1, bbox=None), ["annotations[1] (id 2)", "'bbox'"]),
    "nameless category": (change("categories", 0, name="gone"), ["categories[0]", "'name'"]),
    "no file name": (change("images", 2, file_name="gone"), ["images[2]", "'file_name'"]),
    "duplicate picture": (change("images", 2, id=139), ["images[2]", "id 139", "already"]),
    "duplicate category": (change("categories", 1, id=3), ["categories[1]", "id 3", "already"]),
    "missing picture": (
        change("images", 2, file_name="9.jpg"),
        ["image 632", "no picture", "9.jpg"],
    ),
    "other size": (
        change("images", 2, width=640),
        ["image 632", "640 × 48", "000003.jpg has 64 × 48"],
    ),
    "no categories": (lambda c: c.pop("categories"), ["'categories'"]),
    "annotations no list": (lambda c: c.update(annotations={}), ["annotations is {}", "list"]),
    "an annotation no object": (lambda c: c["annotations"].append(7), ["annotations[3] is 7"]),
    "no pictures": (lambda c: c.update(images=[]), ["`images` is empty"]),
}


@pytest.mark.parametrize("case", COCOS)
def test_wrong_coco(coco, case):
    (path, content), (spoil, words) = coco, COCOS[case]
    spoil(content)
    path.write_text(json.dumps(content))
    refused(read_coco, path, words=[str(path), *words])


@pytest.mark.parametrize(
    "text, words",
    [
        (b'{"images": [\n{"id": 1,,', ["line 2", "not JSON"]),
        (b"\xff\xfe\xff", ["not JSON"]),
        (b"", ["line 1", "not JSON"]),
        (b"[]", ["images, annotations, categories"]),
        (b"[" * 10**5, ["not JSON"]),
        (b"1" * 5000, ["not JSON"]),
    ],
)
def test_broken_json(tmp_path, text, words):
    (tmp_path/"x.json").write_bytes(text)
    refused(read_coco, tmp_path/"x.json", words=["x.json", *words])


def test_coco_leaves_out_what_has_no_area_and_names_other_paths(coco, tmp_path):
    path, content = coco
    content["annotations"][0]["bbox"][2] = 0
    path.write_text(json.dumps(content))
    told = ["left out: crowds (iscrowd), 1.", "left out: boxes without area, 1."]
    assert sorted(about(read_coco(path)).remarks) == sorted(told)
    refused(read_coco, tmp_path / "none.json", words=["no file", "none.json"])
    (tmp_path / "empty").mkdir()
    refused(read_coco, tmp_path / "empty", words=["JSON file itself"])


VOCS = {
    "cut short": (lambda t: t[:200], ["line", "not XML"]),
    "wrong tag": (
        lambda t: t.replace("</name>", "</nme>", 1),
        ["line 11", "not XML", "mismatched tag"],
    ),
    "no file name": (lambda t: t.replace("filename", "file"), ["<filename>"]),
    "no size": (lambda t: t.replace("size>", "sizes>"), ["<size><width>"]),
    "no name": (
        lambda t: t.replace("<name>three</name>", ""),
        ["object 0 (counting from 0)", "<name>"],
    ),
    "no box": (
        lambda t: t.replace("<bndbox>\n", "<box>\n").replace("</bndbox>\n", "</box>\n"),
        ["object 0", "<bndbox><xmin>"],
    ),
    "no xmax": (
        lambda t: t.replace("xmax>56</xmax", "right>56</right"),
        ["object 1", "<bndbox><xmax>"],
    ),
    "text for a number": (
        lambda t: t.replace(">56<", ">far<"),
        ["object 1", "<bndbox><xmax> is 'far'"],
    ),
    "not a number": (lambda t: t.replace(">64<", ">nan<"), ["<size><width> is 'nan'"]),
    "reversed": (lambda t: t.replace(">56<", ">6<"), ["object 1", "reversed"]),
    "outside": (lambda t: t.replace(">56<", ">66<"), ["object 1", "outside", "64 pixels wide"]),
    "other size": (lambda t: t.replace(">64<", ">128<"), ["128 × 48", "000001.jpg has 64 × 48"]),
    "missing picture": (lambda t: t.replace("000001.jpg", "9.jpg"), ["no picture", "9.jpg"]),
    "empty": (lambda t: "", ["not XML"]),
    "another file": (
        lambda t: (
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>' + t.replace("three", "&x;")
        ),
        ["entities", "not read"],
    ),
    "strange encoding": (lambda t: '<?xml version="1.0" encoding="nonsense"?>' + t, ["encoding"]),
}


@pytest.mark.parametrize("case", VOCS)
def test_wrong_voc(voc, case):
    path, (spoil, words) = voc/"Annotations"/"000001.xml", VOCS[case]
    path.write_text(spoil(path.read_text()))
    refused(read_voc, voc, words=[str(path), *words])


def test_entity_bomb_takes_neither_time_nor_memory(voc):
    import tracemalloc
    entities = "".join(f'<!ENTITY lol{i + 1} "{f"&lol{i};" * 10}">' for i in range(11))
    bomb = (
        f'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol0 "lol">{entities}]>'
        "<annotation><filename>&lol11;</filename></annotation>"
    )
    (voc/"Annotations"/"000002.xml").write_text(bomb)
    tracemalloc.start()
    start = time.perf_counter()
    message = refused(read_voc, voc, words=["000002.xml", "entities", "was not read"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - start < 2 and peak < 2e7 and "lollol" not in message


def test_voc_files_beside_pictures(tmp_path, voc):
    for file in [*(voc / "JPEGImages").iterdir(), *(voc / "Annotations").iterdir()]:
        file.rename(tmp_path / file.name)
    same(read_voc(tmp_path), tmp_path)
    (tmp_path / "empty").mkdir()
    refused(read_voc, tmp_path / "empty", words=["no pictures"])


NAMES = {
    "inline": "names: [three, seven]\n",
    "quoted": "names: ['three', \"seven\"]  # two\nnc: 2\n",
    "several lines": "names: [\n  three,\n  seven ]\n",
    "list": "names:\n- three\n- seven\nnc: 2\n",
    "indented list": "names:\n  - 'three'\n  - seven # 7\n",
    "mapping": "# digits\nnames:\n  0: three\n  1: seven\n\nnc: 2\n",
    "inline mapping": "names: {0: three, 1: 'seven'}\n",
    "byte order mark": "\ufeffnames: [three, seven]\n",
}


@pytest.mark.parametrize("text", NAMES.values(), ids=NAMES)
def test_yolo_names(yolo, text):
    (yolo/"data.yaml").write_text(text, encoding="utf-8")
    same(read_yolo(yolo), yolo/"images")


def test_yolo_names_elsewhere(yolo):
    (yolo / "data.yaml").write_text("nc: 2\n")
    refused(read_yolo, yolo, words=["data.yaml", "`names:`"])
    (yolo / "data.yaml").write_text("names: voc.names\n")
    refused(read_yolo, yolo, words=["data.yaml", "way that we do not know"])
    (yolo / "data.yaml").unlink()
    refused(read_yolo, yolo, words=["no data.yaml", "no classes.txt"])
    (yolo / "labels" / "classes.txt").write_text("three\nseven\n")
    same(read_yolo(yolo), yolo / "images")


LINES = {
    "unknown class": ("2 0.5 0.5 0.2 0.2", ["class '2'", "0, 1"]),
    "class no number": ("three 0.5 0.5 0.2 0.2", ["class 'three'"]),
    "negative class": ("-1 0.5 0.5 0.2 0.2", ["class '-1'"]),
    "four columns": ("1 0.5 0.5 0.2", ["4 columns", "5 belong"]),
    "an outline": ("1 0.1 0.1 0.2 0.2 0.3 0.1", ["7 columns"]),
    "text": ("1 0.5 0.5 0.2 x", ["not four numbers"]),
    "pixels": ("1 32 24 16 16", ["32 24 16 16", "between 0 and 1", "not pixels"]),
    "not a number": ("1 nan 0.5 0.2 0.2", ["between 0 and 1"]),
    "negative": ("1 0.5 0.5 -0.2 0.2", ["between 0 and 1"]),
    "over the edge": ("1 0.95 0.5 0.3 0.2", ["outside", "centre x"]),
    "empty box": ("1 0.5 0.5 0 0.2", ["empty"]),
}


@pytest.mark.parametrize("case", LINES)
def test_wrong_yolo_lines(yolo, case):
    line, words = LINES[case]
    (yolo/"labels"/"000002.txt").write_text(f"0 0.5 0.5 0.2 0.2\n\n{line}\n")
    refused(read_yolo, yolo, words=["000002.txt, line 3", *words])


def test_wrong_yolo_files(yolo):
    (yolo / "labels" / "000002.txt").write_bytes(b"0 \xff")
    refused(read_yolo, yolo, words=["000002.txt", "UTF-8"])
    (yolo / "labels" / "000002.txt").write_text("")
    (yolo / "labels" / "9.txt").write_text("")
    refused(read_yolo, yolo, words=["9.txt", "no picture 9"])
    (yolo / "labels" / "9.txt").unlink()
    (yolo / "images" / "000003.jpg").write_bytes(b"x")
    refused(read_yolo, yolo, words=["000003.jpg", "no picture that we can read"])
    (yolo / "images" / "000003.png").write_bytes(b"x")
    refused(read_yolo, yolo, words=["'000003'", "different endings"])
    (yolo / "images").rename(yolo / "other")
    refused(read_yolo, yolo, words=["no folder", "images"])
    paint(yolo / "images" / "train")
    paint(yolo / "images" / "val")
    refused(read_yolo, yolo, words=["part='train'", str(yolo / "images" / "val")])
    (yolo / "labels").rename(yolo / "x")
    (yolo / "labels").mkdir()
    (yolo / "x").rename(yolo / "labels" / "train")
    same(read_yolo(yolo, "train"), yolo / "images" / "train")


# --- results, figures ---

def test_results_are_read_by_pycocotools(coco, tmp_path):
    labels = [f"gap {i}" for i in range(90)]
    labels[2], labels[89] = "three", "seven"
    answers = [[THREE | {"score": .9}, SEVEN | {"score": np.float32(.5)}], []]
    write_coco_results(answers, np.array([285, 139]), labels, tmp_path/"r.json")
    with redirect_stdout(io.StringIO()):
        gt = COCO(str(coco[0]))
        judge = COCOeval(gt, gt.loadRes(str(tmp_path / "r.json")), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert judge.stats[0] == pytest.approx(1)
    refused(
        write_coco_results, answers, [285], labels, tmp_path / "r.json",
        words=["2 pictures", "1 id"],
    )
    refused(
        write_coco_results, answers, [285, 139], ["three"], tmp_path / "r.json",
        words=["picture 285", "'seven'"],
    )


def test_labels_are_drawn_as_they_are():
    odd = {"label": r"$\frac{1}{$", "xyxy": [1, 2, 30, 40], "score": .5}
    fig = draw_boxes(np.zeros((48, 64), np.uint8), [odd], [THREE])
    fig.savefig(io.BytesIO(), format="png")
    ax = fig.axes[0]
    assert [t.get_text() for t in ax.texts] == ["three", r"$\frac{1}{$ 0.50"]
    assert [p.get_linestyle() for p in ax.patches] == ["--", "-"]
