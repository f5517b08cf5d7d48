"""What stands in a certificate, as the schema says it; and the sentence about what does not."""

import json
from copy import deepcopy

import jsonschema
import pytest

from sft_nb.certification.certificate import Certificate
from sft_nb.certification.findings import sentence
from sft_nb.certification.schema import SCHEMA, misfits
from sft_nb.task import DataError

FOUND = {
    "part": "accuracy >= 0.8",
    "slice": None,
    "observed": 0.83,
    "bound": 0.79,
    "alone": 0.79,
    "holds": False,
    "finite": True,
    "method": "exact binomial",
    "unit": "film",
    "n": 100,
    "delta": 0.05,
    "needed": 160,
    "approximate": None,
    "promised": "accuracy, averaged over films",
    "rows": 0.81,
}
ABOUT = {
    "title": "Film reviews",
    "checkpoint": "minilm",
    "base": "What the base checkpoint minilm has seen is unknown.",
    "data": "certify.csv",
    "author": "A. Author",
    "check": "sft-nb verify CERT.json --model RUN --data ROWS",
}
ROWS = {
    "n": 2,
    "groups": 2,
    "group": "film",
    "columns": ["text", "label", "film"],
    "hashes": ["ab" * 16, "cd" * 16],
    "scores": [1.0, 0.0],
    "confidence": [0.9, None],
    "close": [],
    "unit": "film",
    "units": 2,
    "unit_of": [0, 1],
    "salt": "ef" * 16,
}
COMPARISON = {
    "value": 0.2,
    "low": 0.1,
    "high": 0.3,
    "p": 0.001,
    "method": "exact McNemar test",
    "smallest": 0.08,
    "n": 300,
    "units": 100,
    "delta": 0.05,
}
BODY = {
    "format": 2,
    "verdict": "NOT CERTIFIED",
    "claim": "accuracy >= 0.8",
    "confidence": 0.95,
    "reason": "",
    "task": "text-classification",
    "about": ABOUT,
    "issued": "2026-01-31",
    "expires": None,
    "promise": None,
    "findings": [FOUND],
    "rows": ROWS,
    "ledger": {"k": 1, "delta": 0.05, "total": 0.05},
    "looks": {"same": 0, "others": 0, "grows": False},
    "warnings": ["3 near doubles"],
    "doubles": {"all rows": {"rows": 2, "score": 0.5}, "without any double": {"rows": 0,
                                                                            "score": None}},
    "shift": {"distance": 0.1, "p": 0.4, "unit": "film"},
    "against": {"majority": COMPARISON},
    "slices": {"label: fresh": {"rows": 2, "mean score": 0.5}},
    "sketch": {"numbers": [[0.5] * 8, [-1.5] * 8], "groups": [0, 1]},
    "files": {"model.safetensors": "ab" * 32, "settings": "cd" * 32},
    "fingerprints": {name: "ab" * 32 for name in ("weights", "settings", "code", "data")},
    "versions": {"sft_nb": "0.1"},
    "digest": "0" * 64,
}


def changed(*path, to=None, gone=False):
    body = deepcopy(BODY)
    inner = body
    for key in path[:-1]:
        inner = inner[key]
    if gone:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return body


def test_the_schema_is_a_schema_and_a_certificate_fits_it():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert misfits(BODY) == []


# what stands there -> what is said
WRONG = {
    "a text for a number": (changed("confidence", to="high"), "confidence should be number"),
    "true for a number": (changed("confidence", to=True), "confidence should be number"),
    "true for a count": (changed("rows", "n", to=True), "rows.n should be integer"),
    "half a row": (changed("rows", "n", to=2.5), "rows.n should be integer"),
    "two kinds": (
        changed("findings", 0, "slice", to=3),
        "findings[0].slice should be string or null",
    ),
    "a list for an object": (changed("doubles", to=[]), "doubles should be object"),
    "not a number": (
        changed("findings", 0, "bound", to=float("nan")),
        "findings[0].bound should be number",
    ),
    "without end": (changed("ledger", "total", to=float("inf")), "ledger.total should be number"),
    "another verdict": (changed("verdict", to="SPLENDID"), "verdict is 'SPLENDID'"),
    "another format": (changed("format", to=1), "format is 1"),
    "true for a format": (changed("format", to=True), "format is True"),
    "a key less": (changed("rows", gone=True), "it has no 'rows'"),
    "a key less inside": (changed("findings", 0, "unit", gone=True), "findings[0] has no 'unit'"),
    "a key more": (changed("extra", to=1), "it has an unknown 'extra'"),
    "a key more inside": (changed("findings", 0, "x", to=1), "findings[0] has an unknown 'x'"),
    "a warning that is none": (changed("warnings", to=["a", 3]), "warnings[1] should be string"),
    "a fingerprint": (changed("fingerprints", "data", to=7), "fingerprints.data should be string"),
    "no question": (changed("ledger", "k", to=0), "ledger.k is 0, and should be 1 or more"),
    "sure": (changed("confidence", to=1.0), "confidence is 1.0, and should be less than 1"),
    "not sure at all": (changed("confidence", to=0), "confidence is 0, and should be more than 0"),
    "a digest": (changed("digest", to="x" * 64), "digest is 'xxx"),
    "a list": ([], "it should be object"),
    "nothing": (None, "it should be object"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_misfit_is_a_sentence_with_its_place(case, tmp_path):
    body, words = WRONG[case]
    said = misfits(body)
    assert said[0].startswith(words) and len(said) == 1
    assert len(said[0]) < 200 and "\n" not in said[0]
    (tmp_path / "c.json").write_text(json.dumps(body))
    if isinstance(body, dict):
        with pytest.raises(DataError) as e:
            Certificate.load(tmp_path / "c.json")
        assert words in str(e.value) and "c.json is not a certificate of format 2" in str(e.value)


@pytest.mark.parametrize(
    "case", [c for c, (b, w) in WRONG.items() if "number" not in c and c != "without end"]
)
def test_a_program_of_somebody_else_says_the_same(case):
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(WRONG[case][0])


def test_all_that_is_missing_is_named():
    said = misfits({})
    assert len(said) == len(SCHEMA["required"]) and {f"it has no {k!r}" for k in BODY} == set(said)


def test_a_long_value_is_cut():
    assert len(misfits(changed("digest", to="x" * 100_000))[0]) < 200
    assert len(misfits(changed("verdict", to=["x"] * 10_000))[0]) < 200


@pytest.mark.parametrize("part, observed, says", [
    ("f1_macro >= 0.5", .606, "not known for this figure"),
    ("f1_macro >= 0.5", .45, "No number of further units"),
    ("error <= 0.2", .3, "No number of further units"),
    ("gap of accuracy by genre <= 0.1", .05, "not known for this figure"),
    ("accuracy >= full - 0.01", .02, "not known for this figure"),
])
def test_a_part_that_fails_says_what_would_help_and_nothing_false(part, observed, says):
    found = FOUND | {"part": part, "observed": observed, "holds": False, "needed": None}
    assert says in sentence(found)
