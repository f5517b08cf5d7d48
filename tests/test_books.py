"""The ledger, claims and certificates that somebody else wrote:

any content is a sentence, none hangs.
"""
import json

import pytest

from sft_nb.all import Certificate, DataError
from sft_nb.certification.language import parse_claim
from sft_nb.certification.provenance import Asked, Ledger

DAMAGED = [
    "", "{", "[]", "null", "3", '{"x": 3}', '{"x": {}}', '{"x": [3]}',
    '{"format": 2, "sets": {}, "asked": [3], "looks": []}',
    '{"format": 2, "sets": {}, "asked": [], "looks": [{"model": "A"}]}',
    "[" * 100_000,
    '{"x":' * 5_000,
]
ROWS = Asked(["a good", "b bad"], ["a" * 32, "b" * 32], [[0], [1]])


@pytest.mark.parametrize("text", DAMAGED, ids=lambda t: t[:30])
def test_damaged_books(text, tmp_path):
    (tmp_path/"l.json").write_text(text)
    with pytest.raises(DataError, match="restore"):
        Ledger(tmp_path / "l.json").spend(ROWS, "A", "f1", 0.05)


def test_two_thousand_questions(tmp_path):
    book = Ledger(tmp_path/"l.json")
    def asked(i):
        whole = {"data": "x", "model": str(i), "claim": "f1", "kind": "once", "wished": 0.05}
        return whole | {"delta": 0.05 * 0.5**i, "k": i + 1, "times": 1}
    book.path.write_text(
        json.dumps(
            {"format": 2, "sets": {"x": ["a" * 16]}, "looks": [],
             "asked": [asked(i) for i in range(2000)]}
        )
    )
    assert book.spend(ROWS, "new", "f1", .05).delta == 0


def test_a_place_is_taken_before_it_is_used_and_given_back(tmp_path):
    book = Ledger(tmp_path/"l.json")
    assert [book.spend(ROWS, m, "f1", .08).delta for m in "ABC"] == [.08, .04, .02]
    book.give_back(ROWS, "B", "f1")
    assert book.spend(ROWS, "C", "f1", .08).k == 3
    assert book.spend(ROWS, "D", "f1", .08).delta == .04


@pytest.mark.parametrize(
    "text",
    [" and ".join(["accuracy >= 0.5"] * 3000), "accuracy >= 1e999", "accuracy", "", "x" * 10**6],
)
def test_no_claim(text):
    with pytest.raises(DataError) as e:
        parse_claim(text)
    assert len(str(e.value)) < 500


@pytest.mark.parametrize(
    "text", ["[]", "3", "{}", '{"a": NaN}', "[" * 100_000, "no JSON"], ids=lambda t: t[:20]
)
def test_no_certificate(text, tmp_path):
    (tmp_path/"c.json").write_text(text)
    with pytest.raises(DataError, match="certificate"):
        Certificate.load(tmp_path / "c.json")
