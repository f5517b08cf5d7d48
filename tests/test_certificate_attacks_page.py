"""Attacks on what a third party reads: the file's form, the page, the check.

What is changed is refused, or named as not checked; it is never VERIFIED.
"""

import json
import math
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
