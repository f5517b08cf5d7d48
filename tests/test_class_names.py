"""The names of classes in YOLO's data.yaml, in every spelling that YAML allows; and what is no
such file.
"""

import pytest
import yaml
from PIL import Image

from sft_nb.task import DataError
from sft_nb.tasks.detection.formats import detection_layout
from sft_nb.tasks.detection.yolo import yaml_names, read_yolo

# what stands after "nc: 2\n" -> what YAML means
SPELLINGS = {
    "block list": ("names:\n- cat\n- dog\n", ["cat", "dog"]),
    "indented block list": ("names:\n  - cat\n\n  - dog\ntrain: images\n", ["cat", "dog"]),
    "flow list": ("names: [cat, dog]\n", ["cat", "dog"]),
    "flow list over lines": ("names: [\n  cat,\n  dog,\n]\ntrain: images\n", ["cat", "dog"]),
    "escapes": (r"""names: ["caf\u00e9", 'it''s']""" + "\n", ["café", "it's"]),
    "quotes inside quotes": (
        """names: ["the \\"big\\" one", 'say "no"']\n""",
        ['the "big" one', 'say "no"'],
    ),
    "comment after a value": ("names:\n- cat  # the tabby\n- dog # it's old\n", ["cat", "dog"]),
    "apostrophe and comment": ("names:\n- it's # the clown's\n- dog\n", ["it's", "dog"]),
    "hash inside a name": ("names: [b#1, 'c # 2']\n", ["b#1", "c # 2"]),
    "quoted key": ('"names": [cat, dog]\n', ["cat", "dog"]),
    "quoted key, single": ("'names':\n- cat\n- dog\n", ["cat", "dog"]),
    "anchor on the list": ("names: &all\n- cat\n- dog\n", ["cat", "dog"]),
    "anchor and alias": ("pets: &all [cat, dog]\nnames: *all\n", ["cat", "dog"]),
    "anchor on a name": ("first: &one cat\nnames: [*one, dog]\n", ["cat", "dog"]),
    "folded": ("names:\n- >-\n  traffic\n  light\n- dog\n", ["traffic light", "dog"]),
    "literal": ("names:\n- |\n  cat\n- dog\n", ["cat", "dog"]),
    "plain over two lines": ("names:\n- traffic\n  light\n- dog\n", ["traffic light", "dog"]),
    "comma and colon": ("names: ['seven, or so', 'b: c']\n", ["seven, or so", "b: c"]),
    "numbers to names": ("names: {0: a, 2: b}\n", {0: "a", 2: "b"}),
    "numbers to names, block": ("names:\n  0: a\n  '2': \"b\"\n", {0: "a", 2: "b"}),
    "out of order": ("names: {2: b, 0: a}\n", {2: "b", 0: "a"}),
    "explicit keys": ("names:\n  ? 0\n  : a\n  ? 1\n  : b\n", ["a", "b"]),
    "explicit tag": ("names: [!!str cat, !!str 1]\n", ["cat", "1"]),
    "whole file in braces": (None, ["cat", "dog"]),
    "document marks": ("names: [cat, dog]\n...\n", ["cat", "dog"]),
}


def names_of(tmp_path, text, **how):
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8", **how)
    return yaml_names(tmp_path / "data.yaml")


@pytest.mark.parametrize("case", SPELLINGS)
def test_a_spelling_means_what_yaml_says(case, tmp_path):
    text, wanted = SPELLINGS[case]
    text = "{nc: 2, names: [cat, dog]}\n" if text is None else "nc: 2\n" + text
    wanted = dict(enumerate(wanted)) if isinstance(wanted, list) else wanted
    found = names_of(tmp_path, text)
    assert found == wanted and list(found) == list(wanted)
    said = yaml.safe_load(text)["names"]
    said = dict(enumerate(said)) if isinstance(said, list) else said
    assert {int(k): v.strip() for k, v in said.items()} == wanted


WRITTEN = [
    "no",
    "on",
    "yes",
    "True",
    "1.0",
    "010",
    "1e3",
    "0x10",
    "null",
    "1:30",
    "2020-01-01",
    "=",
    ".5",
]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_name_stays_the_text_as_written(name, tmp_path):
    "YAML 1.1 makes False, 1.0, 8, None, 5400 and a date of these."
    assert names_of(tmp_path, f"names: [cat, {name}]\n") == {0: "cat", 1: name}
    assert names_of(tmp_path, f"names:\n  0: cat\n  1: {name}\n") == {0: "cat", 1: name}


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_ends_of_lines_and_a_byte_order_mark(mark, newline, tmp_path):
    assert names_of(tmp_path, f"{mark}nc: 2\nnames:\n- cat\n- dog\n", newline=newline) == {
        0: "cat",
        1: "dog",
    }


def bomb(levels=9):
    lines = ["a0: &a0 [cat]"]
    for n in range(1, levels + 1):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]")
    return "\n".join([*lines, f"names: *a{levels}\n"])


def merges(levels=9):
    lines = ["m0: &m0 {0: cat}"]
    for n in range(1, levels + 1):
        lines.append(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}")
    return "\n".join([*lines, f"names: {{<<: *m{levels}}}\n"])


REFUSED = {
    "tab": (
        "nc: 2\nnames:\n\t- cat\n",
        r"data\.yaml, line 3: this is not YAML.*blanks, not with tabs",
    ),
    "open bracket": ("nc: 2\nnames: [cat, dog\n", r"data\.yaml, line 3: this is not YAML"),
    "open quote": ("names: ['cat, dog]\n", r"data\.yaml, line 2: this is not YAML"),
    "no such anchor": (
        "nc: 1\nnames: *all\n",
        r"data\.yaml, line 2: this is not YAML.*undefined alias 'all'",
    ),
    "an escape that is none": ('names: ["\\q"]\n', r"data\.yaml, line 1: this is not YAML"),
    "control character": ("nc: 1\nnames: [c\x07at]\n", r"data\.yaml, line 2: this is not YAML"),
    "two documents": (
        "names: [a]\n---\nnames: [b]\n",
        r"data\.yaml, line 2: this is not YAML.*another document",
    ),
    "two keys in a line": ("names: a: b\n", r"data\.yaml, line 1: this is not YAML"),
    "a list": (
        "- cat\n- dog\n",
        r"data\.yaml, line 1: .* begins with a list.*names: \[first, second\]",
    ),
    "a word": ("cat\n", r"data\.yaml, line 1: .* begins with a text"),
    "nothing": ("", r"data\.yaml: there is no `names:`"),
    "a comment alone": ("# names: [cat]\n", r"data\.yaml: there is no `names:`"),
    "other keys": ("nc: 2\nclasses: [cat]\n", r"data\.yaml: there is no `names:`"),
    "no value": ("names:\nnc: 2\n", r"data\.yaml, line 1: `names:` is empty"),
    "empty list": ("nc: 0\nnames: []\n", r"data\.yaml, line 2: `names:` is empty"),
    "a file's name": (
        "names: coco.names\n",
        r"data\.yaml, line 1: `names:` is empty, or written in a way that we do not know",
    ),
    "names twice": (
        "names: [a]\nnc: 2\nnames: [b]\n",
        r"data\.yaml, line 3: 'names' is there a second time",
    ),
    "a number twice": (
        "names:\n  0: a\n  1: b\n  '0': c\n",
        r"data\.yaml, line 4: class 0 has a name already",
    ),
    "a number twice in two spellings": (
        "names: {1: a,\n  01: b}\n",
        r"data\.yaml, line 2: class 1 has a name already",
    ),
    "names to numbers": (
        "names:\n  cat: 0\n  dog: 1\n",
        r"data\.yaml, line 2: 'cat' is not a class number.*0: cat",
    ),
    "a number below 0": ("names: {-1: a}\n", r"data\.yaml, line 1: '-1' is not a class number"),
    "a list inside": ("names:\n- cat\n- [dog, wolf]\n", r"data\.yaml, line 3: class 1 is a list"),
    "a mapping inside": (
        "names:\n- cat\n- c: d\n",
        r"data\.yaml, line 3: class 1 is a mapping.*quotes",
    ),
    "an empty entry": ("names:\n- cat\n-\n- dog\n", r"data\.yaml, line 3: class 1 has no name"),
    "nothing in YAML": ("names: [cat, ~]\n", r"data\.yaml, line 1: class 1 has no name"),
    "empty quotes": ("names: [cat, '']\n", r"data\.yaml, line 1: class 1 has no name"),
    "two lines": (
        "names:\n- |\n  cat\n  dog\n",
        r"data\.yaml, line 2: class 0 has a name of several lines",
    ),
    "a list as key": ("? [a, b]\n: c\nnames: [a]\n", r"data\.yaml, line 1: a key is a word"),
    "bomb of aliases": (bomb(), r"data\.yaml, line \d+: class 0 is a list"),
    "bomb of merges": (merges(), r"data\.yaml, line 11: .*<<"),
    "an alias of itself": ("names: &a [cat, *a]\n", r"data\.yaml, line 1: class 1 is a list"),
    "nested too deeply": ("names: " + "[" * 100_000, r"data\.yaml: .* nested too deeply"),
    "braces too deep": ("names: " + "{a: " * 50_000, r"data\.yaml: .* nested too deeply"),
    "too large": ("names: [cat]\n# " + "x" * 3_000_000, r"data\.yaml: 3 MB are too many"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_list_of_names_is_refused_with_its_line(case, tmp_path):
    text, words = REFUSED[case]
    with pytest.raises(DataError, match=f"(?s){words}"):
        names_of(tmp_path, text)


def test_a_tag_makes_no_object(tmp_path):
    "The tags of PyYAML that run code are texts here."
    mark = tmp_path / "mark"
    found = names_of(
        tmp_path,
        "names: [!!python/name:os.system cat, dog]\nx: !!python/object/apply:os.mkdir "
        f"['{mark}']\n",
    )
    assert found == {0: "cat", 1: "dog"} and not mark.exists()


def test_thousands_of_names(tmp_path):
    names = [f"class {n}" for n in range(3_000)]
    assert list(names_of(tmp_path, yaml.safe_dump({"names": names})).values()) == names
    assert (
        list(names_of(tmp_path, yaml.safe_dump({"names": dict(enumerate(names))})).values())
        == names
    )


def yolo(root, text, name="data.yaml"):
    (root / "pics").mkdir()
    Image.new("RGB", (32, 24)).save(root / "pics" / "a.jpg")
    (root / "pics" / "a.txt").write_text("1 0.5 0.5 0.25 0.25\n")
    (root / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "places",
    [
        "'train': \"pics\"",
        "train: pics # all",
        "? train\n: pics",
        "train: [pics]",
        "here: &p pics\ntrain: *p",
    ],
)
def test_places_in_any_spelling(places, tmp_path):
    yolo(tmp_path, f"path: '.'\n{places}\n'names': [cat, it's]\n", "set.yaml")
    for source in (tmp_path, tmp_path / "set.yaml"):
        assert detection_layout(source) is read_yolo
        rows = read_yolo(source)
        assert [b["label"] for b in rows.boxes[0]] == ["it's"]


def test_other_yaml_files_in_the_folder_are_nobodys_business(tmp_path):
    yolo(tmp_path, "train: pics\nnames: [cat, dog]\n", "set.yaml")
    (tmp_path / "a.yaml").write_text("jobs:\n\t- [broken\n")
    (tmp_path / "b.yml").write_text("- names: [a]\n")
    assert read_yolo(tmp_path).boxes[0][0]["label"] == "dog"
