"""Labelling: nothing is lost, nothing is run, and every key does one thing. Quizzes answer back.
"""
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sft_nb import files
from sft_nb.mistakes import SFTError
from sft_nb.task import DataError
from sft_nb.widgets import quizzes as quizzing
from sft_nb.widgets.labelling import Labeller
from sft_nb.widgets.quizzes import Quiz, quiz, quizzes
from sft_nb.widgets.screens import spoken

ROOT = Path(__file__).parents[1]
HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
ROWS = pd.DataFrame({"text": ["one", HOSTILE, "three", "four"], "film": [1, 2, 3, 4]})
PROBS = np.array([[.9, .1], [.5, .5], [.6, .4], [.99, .01]])
NAMES = ["bad", "good"]


def asked(labeller): return labeller.rows.text[labeller.order[labeller.at]]


def test_the_most_doubtful_row_comes_first():
    labeller, order = Labeller(ROWS, NAMES, probs=PROBS), []
    for _ in range(4):
        order.append(asked(labeller))
        labeller.key.value = "1"
    assert order == [HOSTILE, "three", "one", "four"]
    assert "last row" in labeller.shown.value


def test_keys_and_buttons_do_the_same():
    by_key, by_button = Labeller(ROWS, NAMES), Labeller(ROWS, NAMES)
    for key in ("2", "s", "b", "0", "1", "x", "2"):
        by_key.key.value = key
        assert by_key.key.value == ""
    others = by_button.others
    for button in (by_button.buttons["good"], others["s: skip"], others["b: back"],
                   others["0: don't know"], *by_button.buttons.values()):
        button.click()
    assert by_key.table().equals(by_button.table())
    assert by_key.table().label.tolist() == ["good", None, "bad", "good"]
    assert by_key.table().how.tolist() == ["labelled", "don't know", "labelled", "labelled"]
    assert by_key.table().film.tolist() == [1, 2, 3, 4]


def test_a_text_is_shown_and_not_run():
    labeller = Labeller(ROWS, NAMES, probs=PROBS)
    assert "<script" not in labeller.shown.value and "<img" not in labeller.shown.value
    assert "&lt;script&gt;alert(2)" in labeller.shown.value


def test_every_answer_is_in_the_file_at_once(tmp_path):
    file = tmp_path / "labels.json"
    labeller = Labeller(ROWS, NAMES, file=file)
    for n in range(1, 5):
        labeller.answer("good")
        assert len(json.loads(file.read_text(encoding="utf-8"))["answers"]) == n
    assert [p.name for p in tmp_path.iterdir()] == ["labels.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "labels.json"
    labeller = Labeller(ROWS, NAMES, file=file)
    labeller.answer("good")
    before = file.read_bytes()

    def full(path): raise OSError("No space left on device")
    monkeypatch.setattr(files, "flush", full)
    with pytest.raises(DataError, match="No space left"):
        labeller.answer("bad")
    assert file.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_second_sitting_goes_on_and_a_changed_table_finds_its_answers(tmp_path):
    file = tmp_path / "labels.json"
    first = Labeller(ROWS, NAMES, file=file)
    first.answer("good")
    first.answer("bad")
    assert asked(Labeller(ROWS, NAMES, file=file)) == "three"
    turned = Labeller(ROWS[::-1], NAMES, file=file)
    assert turned.table().set_index("text").label.to_dict() == {
        "one": "good", HOSTILE: "bad", "three": None, "four": None}
    assert turned.progress.value == 2


def test_a_skipped_row_is_asked_again_in_the_next_sitting(tmp_path):
    file = tmp_path / "labels.json"
    first = Labeller(ROWS, NAMES, file=file)
    first.skip()
    first.unsure()
    assert first.progress.value == 1
    again = Labeller(ROWS, NAMES, file=file)
    assert asked(again) == "one" and again.progress.value == 1


def test_back_changes_an_answer(tmp_path):
    file = tmp_path / "labels.json"
    labeller = Labeller(ROWS, NAMES, file=file)
    labeller.answer("good")
    labeller.back()
    assert "good" in labeller.words.value
    labeller.answer("bad")
    assert Labeller(ROWS, NAMES, file=file).table().label[0] == "bad"


@pytest.mark.parametrize("content", ["[]", "{", '{"answers": 1}', '{"answers": {"a": {"how": 1}}}'])
def test_a_strange_file_is_refused_and_left_alone(tmp_path, content):
    file = tmp_path / "labels.json"
    file.write_text(content)
    with pytest.raises(DataError):
        Labeller(ROWS, NAMES, file=file)
    assert file.read_text() == content


@pytest.mark.parametrize("given", [
    {"classes": ["a"]}, {"classes": ["a", "a"]}, {"classes": list("abcdefghij")}, {"text": "no"},
    {"rows": ROWS[:0]}, {"probs": PROBS[:2]}, {"probs": PROBS * np.nan},
    {"file": "/nowhere/at/all.json"}, {"classes": None}, {"classes": "ab"},
    {"classes": ["a", None]}, {"classes": ["a", " "]}, {"probs": np.ones([4, 3]) / 3},
    {"probs": -PROBS}, {"rows": ROWS.assign(text=[None, *ROWS.text[1:]])},
    {"rows": ROWS.assign(label="good")}, {"rows": ROWS.assign(how=1)},
])
def test_what_cannot_be_labelled_is_a_sentence(given):
    with pytest.raises(DataError):
        Labeller(**{"rows": ROWS, "classes": NAMES} | given)


def test_without_a_kernel_it_says_how_far_it_is():
    labeller = Labeller(ROWS, NAMES)
    labeller.answer("good")
    assert "1 of 4" in labeller._repr_mimebundle_()["text/plain"]


# --- quizzes ------------------------------------------------------------------------------------

@pytest.mark.parametrize("lesson", quizzes())
def test_every_choice_of_every_quiz_answers_back(lesson):
    shown = quiz(lesson)
    for one in shown.asked:
        for i, choice in enumerate(one.choices):
            one.chosen.value = i
            verdict = "Right." if choice.get("right") else "Not this one."
            assert one.reply.value == spoken(f"{verdict} {quizzing._plain(choice['why'])}")


CHOICES = [{"text": "a", "why": "so", "right": True}, {"text": "b", "why": "not so"}]


@pytest.mark.parametrize("questions", [
    None, "batches/00_losses", [], [None], [{}], [{"ask": "?"}], [{"ask": 3, "choice": CHOICES}],
    [{"ask": "?", "choice": CHOICES[:1]}], [{"ask": "?", "choice": CHOICES * 3}],
    [{"ask": "?", "choice": CHOICES[1:] * 2}], [{"ask": "?", "choice": CHOICES[:1] * 2}],
    [{"ask": "?", "choice": [CHOICES[0], {"text": "b"}]}],
])
def test_what_is_no_quiz_is_a_sentence(questions):
    with pytest.raises(SFTError, match="(?i)question"):
        Quiz(questions)


def test_a_quiz_of_ones_own():
    mine = Quiz([{"ask": "?", "choice": CHOICES}])
    mine.asked[0].chosen.value = 0
    assert mine.asked[0].right and "1 right, 1 of 1" in mine.standing.value


def test_all_lessons_with_questions_have_a_quiz():
    folder = ROOT / "nbs" / "questions"
    found = sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.toml"))
    assert quizzes() == found


def test_who_goes_back_and_on_loses_no_answer(tmp_path):
    labeller = Labeller(ROWS, NAMES, file=tmp_path / "labels.json")
    labeller.answer("good")
    labeller.back()
    labeller.skip()
    assert labeller.table()["label"][0] == "good" and labeller.at == 1


STRANGE = {"how": "labelled", "label": "x"}


def test_who_comes_second_to_a_row_sees_the_first_answer(tmp_path):
    one, two = (Labeller(ROWS, NAMES, file=tmp_path / "labels.json") for _ in range(2))
    one.answer("good")
    two.answer("bad")
    assert two.at == 0 and "Until now: good" in two.words.value
    two.answer("bad")
    again = Labeller(ROWS, NAMES, file=tmp_path / "labels.json")
    assert again.table()["label"].tolist()[0] == "bad" and again.at == two.at == 1
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("press", [
    lambda one: one.buttons["good"].click(), lambda one: setattr(one.key, "value", "1"),
    lambda one: one.others["0: don't know"].click(), lambda one: one.others["s: skip"].click()])
@pytest.mark.parametrize("spoil", [
    lambda file: file.write_text("half of"), lambda file: file.mkdir(),
    lambda file: file.write_text(json.dumps({"answers": {"1": STRANGE}}))])
def test_an_answer_that_cannot_be_kept_is_said(tmp_path, press, spoil):
    one = Labeller(ROWS, NAMES, file=tmp_path / "labels.json")
    spoil(tmp_path / "labels.json")
    press(one)
    assert "This answer was not kept" in one.words.value and one.at == 0 and not one.answers


@pytest.mark.parametrize("wrong, said", [
    ({"probs": -np.ones((len(ROWS), 2))}, "no probability"),
    ({"probs": np.full((len(ROWS), 2), 50)}, "from 0 to 1"),
    ({"probs": np.ones((len(ROWS), 1))}, "1 column for 2"),
    ({"rows": pd.concat([ROWS, ROWS], axis=1)}, "Several"),
])
def test_what_cannot_be_asked_is_named(wrong, said):
    with pytest.raises(DataError, match=said):
        Labeller(**{"rows": ROWS, "classes": NAMES} | wrong)


def test_two_sittings_on_one_file_keep_what_the_other_wrote(tmp_path):
    one, two = (Labeller(ROWS, NAMES, file=tmp_path / "labels.json") for _ in range(2))
    one.answer("good")
    two.skip()
    two.answer("bad")
    again = Labeller(ROWS, NAMES, file=tmp_path / "labels.json")
    assert again.table()["label"].tolist()[:2] == ["good", "bad"] and again.at == 2


@pytest.mark.parametrize("answer", [{"how": "labelled"}, {"how": "labelled", "label": ["good"]},
                                    {"how": "labelled", "label": 3}])
def test_an_answer_that_is_none_is_no_file_of_labels(tmp_path, answer):
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"answers": {"1": answer}}))
    with pytest.raises(DataError):
        Labeller(ROWS, NAMES, file=file)
