"""Attacks on which rows a certificate is about: questions in disguise, runs that forget their
ancestors, groups that are lost on the way.
"""
import shutil

import numpy as np
import pandas as pd
import pytest
from cases import CASES
from tiny_models import SENTENCES

from sft_nb.all import FineTuner, Recipe, TextClassification, split
from sft_nb.certification.roles import (
    Calibrate, Certify, Refused, base_history, is_training_table, judge,
)
from sft_nb.commands.cli import main
from sft_nb.data.hashes import plain_characters, question_hashes, row_hashes
from sft_nb.task import CheckpointError, DataError
from sft_nb.training import saving
from sft_nb.training.seen import as_read
from sft_nb.training.watching import Listener

# --- one question in disguise ---

PLAIN = "The café was naive, said Straße 5"
DISGUISES = {
    "capitals": PLAIN.upper(),
    "no capitals": PLAIN.lower(),
    "blanks doubled": PLAIN.replace(" ", "  "),
    "blanks around": f" \n{PLAIN}\t ",
    "a no-break space": PLAIN.replace(" ", "\u00a0"),
    "lines for blanks": PLAIN.replace(" ", "\r\n"),
    "accents as marks": PLAIN.replace("é", "e\u0301"),
    "no accents": PLAIN.replace("é", "e"),
    "marks on every letter": "".join(c + "\u0323" * c.isalpha() for c in PLAIN),
    "zero-width blanks": "\u200b".join(PLAIN),
    "a joiner": PLAIN.replace("was", "w\u200das"),
    "a byte order mark": "\ufeff" + PLAIN,
    "soft hyphens": PLAIN.replace("naive", "na\u00adive"),
    "a control character": PLAIN.replace("said", "sa\x07id"),
    "tags that nobody sees": PLAIN + "\U000e0041\U000e0042",
    "a variation selector": PLAIN.replace("5", "5\ufe0f"),
    "wide letters": "".join(chr(ord(c) + 0xfee0) if "!" <= c <= "~" else c for c in PLAIN),
    "a ligature of letters": PLAIN.replace("Straße", "Strasse"),
}


@pytest.mark.parametrize("how", DISGUISES)
def test_a_question_in_disguise_is_the_same_question(how):
    shown = pd.DataFrame({"text": [PLAIN, DISGUISES[how]]})
    assert len(set(row_hashes(shown, ["text"]))) == 2
    assert len(set(question_hashes(shown, ["text"]))) == 1


@pytest.mark.parametrize("how", DISGUISES)
@pytest.mark.parametrize("nested", [
    lambda text: [{"role": "user", "content": text}], lambda text: ["tokens", text],
    lambda text: {"question": {"en": text}}, lambda text: np.array(["tokens", text], dtype=object),
])
def test_in_lists_and_dictionaries_too(how, nested):
    cells = pd.DataFrame({"messages": [nested(PLAIN), nested(DISGUISES[how])]})
    assert len(set(question_hashes(cells, ["messages"]))) == 1


@pytest.mark.parametrize("others", [
    ["a good film", "a good film!"], ["film", "films"], ["कि", "की"], ["a b", "ab"], ["5", "50"],
    ["很好", "不好"], ["+1", "-1"], ["👍", "👎"], [["a", "b"], ["ab"]], [["a b"], ["a", "b"]],
    [4, 5], [None, "none"], [{"user": "a"}, {"system": "a"}],
])
def test_another_question_is_another(others):
    assert len(set(question_hashes(pd.DataFrame({"q": pd.Series(others)}), ["q"]))) == 2


def test_what_is_no_text_is_compared_as_ever():
    rows = pd.DataFrame({"n": [1, 2.5, None], "t": [True, False, None]})
    again = pd.DataFrame({"n": ["1", "2.5", None], "t": ["True", "FALSE", None]})
    assert question_hashes(rows, ["n", "t"]) == question_hashes(again, ["n", "t"])


def test_plain_twice_is_plain():
    for text in (*DISGUISES.values(), "İstanbul", "ǰ", "ﬃ", "\u0345x", "\ud800"):
        assert plain_characters(plain_characters(text)) == plain_characters(text)


# --- what the model reads ---

@pytest.mark.parametrize("name", CASES)
def test_what_is_read_hangs_on_the_question_alone_and_comes_back(name, tiny):
    case = CASES[name]
    task, _, processor = case.begin(tiny)
    read = as_read(task, case.rows, processor)
    assert len(read) == len(case.rows) and len(set(read)) >= len(case.rows) - 1
    turned = case.rows.assign(
        **{c: case.rows[c].iloc[::-1].to_list() for c in task.targets() if c not in task.inputs()}
    )
    assert as_read(task, turned, processor) == read
    assert as_read(task, case.rows.iloc[3:5], processor) == read[3:5]
    questions = case.rows[[c for c in case.rows if c in task.inputs()]]
    assert as_read(task, questions, processor) == read


BAREST = Recipe(epochs=1, learning_rate=1e-3, batch_size=8, precision="fp32")


def words(n, seed):
    rng = np.random.default_rng(seed)
    known = sorted({w for s in SENTENCES for w in s.split()})
    rows = pd.DataFrame({"text": [" ".join(rng.choice(known, 8)) for _ in range(n)]})
    rows["author"] = [f"author {seed} {i}" for i in rng.integers(0, n // 4, n)]
    rows["house"] = [f"house {a[-1]}" for a in rows["author"]]
    return rows.assign(label=["good" if len(t) % 2 else "bad" for t in rows.text])


def fitted(tiny, train, valid=None, checkpoint=None):
    start = checkpoint or tiny("bert")
    return FineTuner(TextClassification(), start, BAREST, device="cpu").fit(train, valid)


class Family:
    "Three runs, each begun with the weights of the one before; and rows that nobody has seen."
    def __init__(self, tiny, folder):
        self.rows = [words(40, seed) for seed in range(4)]
        self.data = [split(r, .25, 0, seed=1, group="author") for r in self.rows]
        self.folders = [folder / str(i) for i in range(3)]
        start = None
        for data, out in zip(self.data, self.folders, strict=False):
            tuner = fitted(tiny, data.train, data.valid, start)
            start = tuner.save(out)
        self.kept = self.rows[3]

    def load(self, i): return FineTuner.load(self.folders[i], device="cpu")


@pytest.fixture(scope="module")
def family(tiny, tmp_path_factory): return Family(tiny, tmp_path_factory.mktemp("family"))


@pytest.mark.parametrize("end", ["joy", "two hours of noise", "x"])
def test_an_end_that_is_cut_off_makes_no_new_question(tiny, end):
    rows = words(16, 9)
    rows["text"] = [" ".join([t] * 12) for t in rows.text]
    tuner = fitted(tiny, rows)
    longer = rows.assign(text=[f"{t} {end}" for t in rows.text])
    with pytest.raises(Refused, match="16 rows served as train"):
        judge(tuner, longer)


@pytest.mark.parametrize("dress", ["a , b", "a. b", "(a) b", "a - b"])
def test_blanks_around_signs_make_no_new_question(tiny, dress):
    sign = dress.strip("ab ")[0]
    rows = words(16, 8)
    rows["text"] = [t.replace(" ", f" {sign} ", 1) for t in rows.text]
    tuner = fitted(tiny, rows)
    tight = rows.assign(text=[t.replace(f" {sign} ", f"{sign}", 1) for t in rows.text])
    assert not set(question_hashes(tight, ["text"])) & set(question_hashes(rows, ["text"]))
    with pytest.raises(Refused, match="16 rows served as train"):
        judge(tuner, tight)


def test_rows_that_are_read_alike_are_one_draw(family):
    row, copies = family.kept.iloc[[0]], []
    for i in range(7):
        first, *rest = row.text.iloc[0].split()
        copies.append(row.assign(text=" ".join([first, *rest]) + " ." * 3 + " " * i))
        copies.append(row.assign(text=" ".join([first, *rest]) + "." * 3 + "\u200b" * i))
    judged = judge(family.load(2), pd.concat(copies, ignore_index=True).drop(columns="house"))
    assert len(judged) == 14 and len(judged.units) == 1


# --- ancestors ---

@pytest.mark.parametrize("role", ["train", "valid"])
@pytest.mark.parametrize("ancestor", [0, 1])
def test_a_run_knows_what_its_ancestors_saw(family, ancestor, role):
    rows = family.data[ancestor].roles[role]
    with pytest.raises(Refused, match=f"{len(rows)} rows served as {role} of an earlier run"):
        judge(family.load(2), rows)


def test_and_what_they_were_calibrated_on(family, tiny, tmp_path):
    rows = words(16, 5)
    first = fitted(tiny, words(16, 6))
    first.save(tmp_path / "first")
    judge(first, rows, Calibrate)
    second = fitted(tiny, words(16, 7), checkpoint=tmp_path / "first")
    with pytest.raises(Refused, match="16 rows served as calibrate of an earlier run"):
        judge(second, rows)


def test_a_loaded_run_that_goes_on_is_its_own_ancestor(family):
    tuner = family.load(0)
    tuner.recipe = BAREST
    tuner.fit(family.data[1].train)
    with pytest.raises(Refused, match="served as train of an earlier run"):
        judge(tuner, family.data[0].train)
    assert tuner.notes.group == "author" and tuner.notes.root == family.load(2).notes.root


def test_the_command_line_inherits_too(family, tmp_path):
    family.data[1].train.drop(columns="house").to_csv(tmp_path / "second.csv", index=False)
    code = main([
        "fine-tune", str(tmp_path / "second.csv"), "--task", "text-classification", "--model",
        str(family.folders[0]), "--out", str(tmp_path / "run"), "--epochs", "1", "--device", "cpu",
    ])
    assert not code
    with pytest.raises(Refused, match="served as train of an earlier run"):
        judge(FineTuner.load(tmp_path / "run"), family.data[0].train)


def test_a_resumed_run_inherits_too(family, tmp_path):
    class Stop(Listener):
        def epoch(self, run): run.interrupted = True
    def begin():
        recipe = BAREST.but(epochs=2)
        return FineTuner(TextClassification(), family.folders[0], recipe, tmp_path, device="cpu")
    begin().fit(family.data[1].train, listeners=[Stop()])
    tuner = begin().fit(family.data[1].train, resume="auto")
    assert not tuner.interrupted and tuner.position.epoch == 2
    with pytest.raises(Refused, match="served as train of an earlier run"):
        judge(tuner, family.data[0].train)


def test_what_is_unknown_is_said(family, tiny):
    assert base_history(fitted(tiny, words(16, 6))).endswith(
        "What the checkpoint bert had seen before is unknown: its authors alone can tell."
    )
    said = base_history(family.load(2))
    assert "60 rows" in said and "is unknown" in said and "/" not in said


def test_random_weights_have_seen_nothing(family):
    fresh = FineTuner(
        TextClassification(), family.folders[0], BAREST.but(fresh=True), device="cpu"
    ).fit(family.data[1].train)
    assert not any("earlier" in role for role in fresh.seen)
    assert "random weights" in base_history(fresh)


@pytest.mark.parametrize("damage", ["", "{}x", '{"train": ["a"]}', "[]", None])
def test_an_ancestor_whose_list_is_damaged_is_refused(family, tmp_path, damage):
    folder = shutil.copytree(family.folders[0], tmp_path / "copy")
    (folder / "rows.json").unlink()
    if damage is not None: (folder / "rows.json").write_text(damage)
    tuner = FineTuner(TextClassification(), folder, BAREST, device="cpu")
    with pytest.raises(CheckpointError, match=r"rows\.json"):
        tuner.fit(family.data[1].train)


# --- the unit ---

def as_csv(rows, folder):
    rows.to_csv(folder / "kept.csv", index=False)
    return TextClassification().read(folder / "kept.csv")


def test_the_unit_comes_back_after_save_load_and_csv(family, tmp_path):
    judged = judge(family.load(0), as_csv(family.kept, tmp_path))
    assert judged.group == "author" == judged.unit
    assert len(judged.units) == family.kept.author.nunique() < len(judged)


FINER = {
    "a row each": lambda r: r.assign(unit=range(len(r))),
    "the text": lambda r: r.assign(unit=r.text),
    "two halves of each author": lambda r: r.assign(unit=r.author + (r.index % 2).astype(str)),
    "the label": lambda r: r.assign(unit=r.label),
}


@pytest.mark.parametrize("how", FINER)
def test_another_unit_is_refused(family, how):
    with pytest.raises(Refused, match="split by author"):
        judge(family.load(0), FINER[how](family.kept), group="unit")


def test_a_split_of_the_kept_rows_does_not_change_the_unit(family):
    finer = family.kept.assign(unit=range(len(family.kept)))
    finer.attrs["group"] = "unit"
    with pytest.raises(Refused, match="split by author"):
        judge(family.load(0), finer)


def test_a_coarser_unit_is_welcome(family):
    houses = {a: f"house {i % 3}" for i, a in enumerate(sorted(set(family.kept.author)))}
    coarse = family.kept.assign(house=family.kept.author.map(houses))
    judged = judge(family.load(0), coarse, group="house")
    assert judged.unit == "house" and len(judged.units) == 3


def test_rows_without_the_units_column_are_refused(family):
    for group in (None, "house"):
        with pytest.raises(DataError, match="'author'"):
            judge(family.load(0), family.kept.drop(columns="author"), group=group)


@pytest.mark.parametrize("dress", [str, str.upper, "  {} ".format, "\u200b{}".format])
@pytest.mark.parametrize("role", ["train", "valid"])
def test_new_rows_of_known_groups_are_refused(family, role, dress):
    known = sorted(set(family.data[0].roles[role].author))[:3]
    rows = family.kept.head(6).assign(author=[dress(a) for a in known * 2])
    with pytest.raises(Refused, match=f"3 groups by author served as {role}"):
        judge(family.load(0), rows)


def test_and_those_that_ancestors_knew(family):
    known = family.data[0].train.author.iloc[0]
    with pytest.raises(Refused, match="1 group by author served as train of an earlier run"):
        judge(family.load(2), family.kept.head(4).assign(author=known))


def test_the_command_line_notes_groups_that_somebody_else_has_split(family, tmp_path):
    for role, rows in family.data[0].roles.items():
        rows.to_csv(tmp_path / f"{role}.csv", index=False)
    code = main([
        "fine-tune", str(tmp_path / "train.csv"), "--valid", str(tmp_path / "valid.csv"), "--task",
        "text-classification", "--group", "author", "--model", str(bare(family, tmp_path)),
        "--out", str(tmp_path / "run"), "--epochs", "1", "--device", "cpu",
    ])
    assert not code
    known = family.data[0].train.author.iloc[0]
    with pytest.raises(Refused, match="1 group by author served as train"):
        judge(FineTuner.load(tmp_path / "run"), family.kept.head(4).assign(author=known))


def bare(family, tmp_path):
    "The weights of the first run, as a stranger would hand them on."
    folder = shutil.copytree(family.folders[0], tmp_path / "bare")
    for name in ("rows.json", "sft_nb.json"):
        (folder / name).unlink()
    return folder


# --- roles that survive ---

def other_roles(): return [(Calibrate, Certify), (Certify, Calibrate)]


@pytest.mark.parametrize("first, then", other_roles())
def test_a_role_survives_the_afternoon(family, tiny, tmp_path, first, then):
    fitted(tiny, words(16, 6)).save(tmp_path / "run")
    rows = family.kept.head(12)
    judge(FineTuner.load(tmp_path / "run"), rows, first)
    with pytest.raises(Refused, match=f"12 rows served as {first.role}"):
        judge(FineTuner.load(tmp_path / "run"), rows, then)
    assert len(judge(FineTuner.load(tmp_path / "run"), rows, first)) == 12
    FineTuner.load(tmp_path / "run").save(tmp_path / "run")


@pytest.mark.parametrize("first, then", other_roles())
def test_and_what_another_tuner_of_the_same_run_has_done(family, tiny, tmp_path, first, then):
    tuner = fitted(tiny, words(16, 6))
    tuner.save(tmp_path / "run")
    loaded, rows = FineTuner.load(tmp_path / "run"), family.kept.head(12)
    judge(tuner, rows, first)
    with pytest.raises(Refused, match=f"12 rows served as {first.role}"):
        judge(loaded, rows, then)


def test_a_run_that_was_saved_before_it_was_judged_remembers(family, tiny, tmp_path):
    tuner = fitted(tiny, words(16, 6))
    judge(tuner, family.kept.head(12), Calibrate)
    tuner.save(tmp_path / "a")
    tuner.save(tmp_path / "b")
    judge(tuner, family.kept.tail(12), Calibrate)
    with pytest.raises(Refused, match="24 rows served as calibrate"):
        rows = pd.concat([family.kept.head(12), family.kept.tail(12)])
        judge(FineTuner.load(tmp_path / "b"), rows)


def test_where_nothing_can_be_written_it_is_said(family, tiny, tmp_path, monkeypatch, capsys):
    fitted(tiny, words(16, 6)).save(tmp_path / "run")
    tuner = FineTuner.load(tmp_path / "run")
    def full(*args): raise OSError(28, "No space left on device")
    monkeypatch.setattr(saving, "rewrite", full)
    with pytest.warns(UserWarning, match="does not remember that these rows served as calibrate"):
        judge(tuner, family.kept.head(12), Calibrate)


# --- the training table ---

TABLES = {
    "rows left out": (lambda own, other: own.iloc[5:], "5 questions of the run's 30 missing"),
    "rows of its own": (lambda own, other: other, "that it was not trained on"),
    "more rows": (lambda own, other: pd.concat([own, other.head(3)]), "3 questions that it was"),
    "one row": (lambda own, other: own.head(1), "29 questions"),
    "the valid rows too": (lambda own, other: pd.concat([own, other]), "not trained on"),
    "without a column": (lambda own, other: own[["label"]], "no column 'text'"),
}


@pytest.mark.parametrize("how", TABLES)
def test_another_table_is_not_the_training_table(family, how):
    change, said = TABLES[how]
    given = change(family.data[0].train, family.data[0].valid)
    assert said in is_training_table(family.load(0), given)


def test_the_training_table_is(family):
    own = family.data[0].train
    assert is_training_table(family.load(0), own.sample(frac=1, random_state=1)) == ""
    assert is_training_table(family.load(0), pd.concat([own, own.head(3)])) == ""
