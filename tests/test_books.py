"""The ledger, claims and certificates that somebody else wrote:

any content is a sentence, none hangs.
"""
import json

import pytest

from sft_nb.all import Certificate, DataError
from sft_nb.certification.claims import parse_claim
from sft_nb.certification.provenance import Ledger

DAMAGED = [
    "", "{", "[]", "null", "3", '{"x": 3}', '{"x": {}}', '{"x": [3]}',
    '{"x": [{"model": "A"}]}',
    '{"x": [{"model": "A", "claim": "f1", "delta": "1"}]}',
    '{"x": [{"model": "A", "claim": "f1", "delta": NaN}]}',
    "[" * 100_000,
    '{"x":' * 5_000,
]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda t: t[:30])
def test_damaged_books(text, tmp_path):
    (tmp_path/"l.json").write_text(text)
    with pytest.raises(DataError, match="restore"):
        Ledger(tmp_path / "l.json").spend("x", "A", "f1", 0.05)


def test_two_thousand_questions(tmp_path):
    book = Ledger(tmp_path/"l.json")
    book.path.write_text(
        json.dumps(
            {"x": [{"model": str(i), "claim": "f1", "delta": 0.05 * 0.5**i} for i in range(2000)]}
        )
    )
    assert book.spend("x", "new", "f1", .05).delta == 0


def test_a_place_is_taken_before_it_is_used_and_given_back(tmp_path):
    book = Ledger(tmp_path/"l.json")
    assert [book.spend("x", m, "f1", .08).delta for m in "ABC"] == [.08, .04, .02]
    book.give_back("x", "B", "f1")
    assert book.spend("x", "C", "f1", .08).k == 3 and book.spend("x", "D", "f1", .08).delta == .04


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
