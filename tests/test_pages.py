"""The pages that are written for a browser:

well formed, whatever stands in them, readable in the dark and in a notebook that is not trusted.
"""

from copy import deepcopy
from html.parser import HTMLParser

import jinja2
import pandas as pd
import pytest
from test_certificate_schema import BODY, FOUND

from sft_nb.certification.report import report_page, summary_html
from sft_nb.task import SFTError
from sft_nb.tasks.tagging.showing import Shown, html_spans
from sft_nb.telling import in_html

EVIL = """<script>alert("1")</script> & 'x' {{ 7 * 7 }} {% raw %} {# no #}"""
EMPTY = {"meta", "img", "line", "circle", "br"}  # tags that are not closed


class Reader(HTMLParser):
    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.texts, self.wrong = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)

    @property
    def names(self):
        return {tag for tag, _ in self.tags}


def hostile():
    body = deepcopy(BODY)
    body |= {"claim": EVIL, "reason": EVIL, "task": EVIL, "issued": EVIL, "warnings": [EVIL, EVIL]}
    body |= {"doubles": {EVIL: {EVIL: EVIL, "n": 1.5}}, "slices": {EVIL: {"mean score": 0.5}}}
    body |= {"fingerprints": {EVIL: EVIL}, "versions": {EVIL: EVIL}}
    body["findings"] = [FOUND, FOUND | {"slice": EVIL, "unit": EVIL, "holds": True}]
    body["rows"]["group"] = EVIL
    return body


@pytest.mark.parametrize("write", [report_page, summary_html])
@pytest.mark.parametrize("body", [BODY, hostile()], ids=["plain", "hostile"])
def test_a_certificates_page_is_well_formed_whatever_it_says(write, body):
    page = Reader(write(body))
    if write is summary_html:
        assert not page.open
    assert not page.wrong and "script" not in page.names
    assert type(write(body)) is str and write(body) == write(deepcopy(body))
    times = page.text.count(EVIL)
    assert times == 0 if body is BODY else times >= 4


def test_what_the_page_says():
    page = Reader(report_page(BODY))
    said = page.text
    assert page.names >= {"svg", "h1", "h2", "table", "title", "style"}
    for words in (
        "NOT CERTIFIED",
        "60 more units",
        "3 near doubles",
        "rows within 1e-5",
        "Question 1 to",
    ):
        assert words in said
    assert "http" not in report_page(BODY)
    svg = next(attrs for tag, attrs in page.tags if tag == "svg")
    assert svg["role"] == "img" and "60 more units" in svg["aria-label"]


def test_a_section_without_content_falls_away():
    body = BODY | {"findings": [], "rows": {}, "ledger": {}, "warnings": [], "verdict": "REFUSED"}
    body |= {"slices": {}, "doubles": {}, "against": {}}
    page = Reader(report_page(body))
    for heading in ("What the rows say", "Warnings", "Also looked at", "Rows", "The ledger"):
        assert heading not in page.texts
    assert sum(tag == "h2" for tag, _ in page.tags) == 8


def test_readable_in_the_dark():
    page = report_page(BODY)
    assert "color-scheme: light dark" in page and "currentColor" in page
    assert "background" not in page and "#000" not in page and "#fff" not in page


def test_a_notebook_that_is_not_trusted_shows_all():
    "Jupyter strips SVG, scripts and style sheets there."
    short = Reader(summary_html(BODY))
    assert short.names <= {"h3", "p", "pre", "ul", "li"} and "●" in short.text


WRONG = {
    "nothing": {},
    "a verdict alone": {"verdict": "CERTIFIED"},
    "a list as verdict": BODY | {"verdict": []},
    "an unknown verdict": BODY | {"verdict": "SPLENDID"},
    "a text for a number": BODY | {"confidence": "high"},
    "findings that are none": BODY | {"findings": [3]},
    "a number as digest": BODY | {"digest": 7},
    "rows without counts": BODY | {"rows": {"n": 3}},
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_certificate_gives_no_page(case):
    with pytest.raises(SFTError, match="This is not a certificate"):
        report_page(WRONG[case])


def test_coloured_texts_keep_every_sign():
    text = f"  {EVIL}\n\tAda met\r\nBob"
    spans = [{"start": 2, "end": 12, "label": EVIL}, {"start": 20, "end": 25, "label": "PER"}]
    page = Reader(html_spans(text, spans))
    assert not page.wrong and not page.open and page.names == {"span", "mark", "small", "b"}
    assert page.text == text[:12] + f" {EVIL}" + text[12:25] + " PER" + text[25:]
    marks = [attrs["style"] for tag, attrs in page.tags if tag == "mark"]
    assert len(marks) == 2
    assert all("background:#" in style and "color:#000" in style for style in marks)
    shown = Reader(Shown([(EVIL, text, spans), ("", "plain", [])])._repr_html_())
    assert (
        "script" not in shown.names and shown.text.startswith(EVIL + text[:12]) and not shown.wrong
    )


def test_a_run_gets_a_page(reviews, tiny):
    from sft_nb.all import FineTuner, Recipe, TextClassification
    from sft_nb.commands.learning_report import report_page as learning_report

    rows = reviews.assign(text=[f"{text} {EVIL}" for text in reviews.text])
    tuner = FineTuner(TextClassification(), tiny("bert"), Recipe(epochs=1, batch_size=8))
    tuner.fit(rows, rows)
    tuner.notes.title = EVIL
    written = learning_report(tuner, tuner.evaluate(rows))
    page = Reader(written)
    assert type(written) is str and not page.wrong
    assert page.names <= {
        "html", "meta", "title", "style", "h1", "h2", "p", "code", "img", "table", "thead",
        "tbody", "tr", "th", "td",
    }
    assert page.texts.count(EVIL) == 2  # in the title, and over the page
    assert "Learning curve" in page.texts and "sft-nb predict RUN --text …" in page.texts
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) == 2
    assert all(p["src"].startswith("data:image/png;base64,") and p["alt"] for p in pictures)


def test_a_hole_is_filled_or_refused():
    assert in_html("<b>{{ a }}</b>", a="<i>") == "<b>&lt;i&gt;</b>"
    assert in_html("{{ a }}", a=in_html("<i>{{ b }}</i>", b="&")) == "<i>&amp;</i>"
    with pytest.raises(jinja2.UndefinedError):
        in_html("{{ missing }}", other=1)


def test_a_table_of_a_report_is_escaped():
    from sft_nb.commands.learning_report import table_in_html

    assert "<script>" not in table_in_html(pd.DataFrame({EVIL: [EVIL]}))
