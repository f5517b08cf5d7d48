"""Attacks on what a third party reads: the file's form, the page, the check.

What is changed is refused, or named as not checked; it is never VERIFIED.
"""

import json
import math
import re
from copy import deepcopy

import jsonschema
import pytest
from test_certificate_schema import BODY, changed
from test_pages import EVIL, Reader

from sft_nb.certification.certificate import Certificate
from sft_nb.certification.report import card_section, heading, report_page, summary_html
from sft_nb.certification.schema import SCHEMA, misfits, unshowable
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
