"""What all lessons share: numbers that an output confirms, folded cells, questions, one form."""
import json
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import forms
import glossary
import hide
import lessons
import prose_numbers
import questions

from sft_nb.widgets.quizzes import NO_KERNEL

LESSONS = {lessons.name(path): path for path in lessons.every()}
ASKED = sorted(questions.FOLDER.rglob("*.toml"))


def prose(text):
    return {"cell_type": "markdown", "id": "p", "metadata": {}, "source": [text]}


def code(text, *said, **kinds):
    "A code cell with what it printed, or a result by MIME type."
    outputs = [{"output_type": "stream", "name": "stdout", "text": [t]} for t in said]
    if kinds:
        data = {f"text/{kind}": [text] for kind, text in kinds.items()}
        outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
    return {
        "cell_type": "code", "id": "c", "metadata": {}, "execution_count": None,
        "source": [text], "outputs": outputs,
    }


def book(*cells):
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def saved(tmp_path, *cells, name="a.ipynb"):
    path = tmp_path / "nbs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(book(*cells), indent=1, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
    return path


# --- numbers in prose ----------------------------------------------------------------------------

@pytest.fixture
def left(tmp_path):
    "left(text, *cells): the numbers of a prose cell that the other cells do not confirm."
    def numbers(text, *cells, name="a.ipynb"):
        path = saved(tmp_path, prose(text), *cells, name=name)
        return [said.text for _, said, _ in prose_numbers.unconfirmed(path)]
    return numbers


CONFIRMED = {
    "as it is": ("We reach 0.83.", "0.83"),
    "rounded": ("We reach 0.83.", "0.8284"),
    "a percentage of a share": ("That is 83 %.", "0.8284"),
    "a percentage of a percentage": ("That is 83 percent.", "82.8%"),
    "in words": ("Nearly eight per cent.", "0.0812"),
    "without a zero": ("We reach .83.", "0.8284"),
    "thousands": ("There are 37,000 rows.", "37000"),
    "thousands, rounded": ("There are 13,000 rows.", "12808"),
    "millions": ("It has 22.7 million numbers.", "22713216"),
    "with a power": ("At 1e-4 it learns.", "0.0001"),
    "from code": ("Of 400 rows.", "head(400)"),
}


@pytest.mark.parametrize("case", CONFIRMED)
def test_a_number_that_the_page_says_is_confirmed(left, case):
    text, said = CONFIRMED[case]
    assert left(text, code("x", f"value: {said}\n")) == []
    assert left(text, code(f"value = {said}")) == []
    assert left(text, code("x", html=f"<td>{said}</td>")) == []


WRONG = {
    "another number": ("We reach 0.85.", "0.8284", "0.85"),
    "cut off instead of rounded": ("We reach 0.82.", "0.8284", "0.82"),
    "another percentage": ("That is 8 %.", "0.0962", "8 %"),
    "another percentage, in words": ("Eight percent here.", "0.0962", "Eight percent"),
    "a percentage that is a count elsewhere": ("That is 8 %.", "rank = 8", "8 %"),
    "another count": ("190,000 of them are new.", "160334", "190,000"),
    "an attribute of a tag": ("There are 7,741.", "<svg width='7741'>", "7,741"),
    "millions, cut off": ("It has 22 million numbers.", "22713216", "22 million"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_number_that_the_page_does_not_say_is_found(left, case):
    text, said, number = WRONG[case]
    assert left(text, code("x", html=said)) == [number]


@pytest.mark.parametrize("text", [
    "Three of 12 are left.",
    "Hinton 2015 and Bayardo (2007)",
    "1. First\n2. Second\n\n17. Last",
    "## 14. Later",
    "Python 3.11.4 and GPT-40 and MiniLM-L6-H384, 32-bit",
    "`x = 77`, $x = 77$, <b style='width:77'>b</b>, [a](77_b.ipynb)",
    "```\n77\n```",
    "with 95 % confidence, a 95 % interval",
    "## Exercises\n\n1. Try 77 rows.",
    "**Exercises.** 1. Try 77 rows.",
    "<!-- questions: a -->\n\n77?",
    "One per centre, twenty-five per cent",
    "> 🔮 **Predict.** How many\n> of 77 rows?",
    "> ✅ **Stop and check.** Which of 77?",
    "*A model is right on 77 of a hundred. Is it good?*",
])
def test_what_is_no_figure_is_left_out(left, text):
    assert left(text) == []


def test_prose_before_the_exercises_counts(left):
    assert left("It reaches 0.77.\n\n## Exercises\n\n1. Try 78.") == ["0.77"]
    assert left("> 🔮 **Predict.** 76?\n\nIt is 0.77.\n\n*And 78?*") == ["0.77"]
    assert left("*Only* 0.77, *says* she") == ["0.77"]


def test_what_a_linked_lesson_says_counts(left, tmp_path):
    saved(tmp_path, code("f()", "0.77313"), name="x/b.ipynb")
    assert left("It reaches 0.77, as [b](x/b.ipynb#c) found.") == []
    assert left("It reaches 0.77, as [b](x/c.ipynb) found.") == ["0.77"]
    assert left("## x/b\n\nIt reaches 0.77.", name="answers/x.ipynb") == []
    assert left("## x/b\n\nIt reaches 0.77.", name="x/d.ipynb") == ["0.77"]


def test_a_number_is_told_with_its_place(tmp_path):
    path = saved(tmp_path, prose("Here it is 0.77313, then."), name="b.ipynb")
    found, idle = prose_numbers.findings([path], {("b", "0.5"), ("*", "7"), ("c", "1")})
    assert found == [("b", 0, "0.77313", "Here it is 0.77313, then.")]
    assert idle == [("*", "7"), ("b", "0.5")]
    assert prose_numbers.findings([path], {("b", "0.77313")}) == ([], [])
    assert prose_numbers.findings([path], {("*", "0.77313")}) == ([], [])


def test_an_accepted_number_has_a_reason(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('[[accepted]]\nnotebook = "a"\nnumbers = ["1"]\n')
    with pytest.raises(SystemExit, match="no reason"):
        prose_numbers.accepted(file)


def test_no_number_in_prose_is_unconfirmed():
    found, idle = prose_numbers.findings(lessons.every(), prose_numbers.accepted())
    assert not found, "\n".join(f"{n} cell {i}: {number} in {text}" for n, i, number, text in found)
    assert not idle, f"accepted for nothing: {idle}"


# --- folded cells --------------------------------------------------------------------------------

WALL = "import a\nimport b\nfrom c import d\nimport e\nimport f\n"
FOLDED = {
    "a wall of imports": (code(f"#| export\n{WALL}"), {"source_hidden": True}),
    "with a setting": (code(f"{WALL}a.quiet()\n"), {"source_hidden": True}),
    "a few imports": (code("#| export\nimport a\nimport b\n"), {}),
    "imports and work": (code(f"{WALL}x = 1\n"), {}),
    "imports that show something": (code(f"{WALL}a.shape()\n", "3"), {}),
    "a hidden test": (code("#| hide\nassert 1\n"), {"source_hidden": True}),
    "a hidden test that speaks": (
        code("#| hide\nprint(1)\n", "1\n"), {"source_hidden": True, "outputs_hidden": True}
    ),
    "a hidden output": (code("#| hide_output\nf()\n", "1\n"), {"outputs_hidden": True}),
    "nothing to hide": (code("#| hide_output\nf()\n"), {}),
    "forty lines": (code("f()", "1\n" * 40), {}),
    "more lines": (code("f()", "1\n" * 41), {"outputs_hidden": True}),
    "a long table": (code("f()", html="<tr>" * 41), {"outputs_hidden": True}),
    "magics": (code("%matplotlib inline\n!ls\n"), {}),
}


@pytest.mark.parametrize("case", FOLDED)
def test_what_is_folded(case):
    cell, marks = FOLDED[case]
    assert hide.wanted(cell) == marks


def test_folding_twice_is_folding_once(tmp_path):
    path = saved(tmp_path, prose("a"), code(WALL), code("f()", "1\n"))
    hide.main([str(path)])
    once = path.read_text()
    assert lessons.read(path)["cells"][1]["metadata"] == {"jupyter": {"source_hidden": True}}
    hide.main([str(path)])
    hide.main([str(path), "--check"])
    assert path.read_text() == once


def test_what_need_not_be_folded_is_opened(tmp_path):
    cell = code("f()", "1\n")
    cell["metadata"] = {"jupyter": {"outputs_hidden": True, "other": 1}, "tags": []}
    path = saved(tmp_path, cell)
    with pytest.raises(SystemExit, match="a: run python tools/hide.py"):
        hide.main([str(path), "--check"])
    hide.main([str(path)])
    assert lessons.read(path)["cells"][0]["metadata"] == {"jupyter": {"other": 1}, "tags": []}


def test_a_site_is_told_of_the_folds_by_tags():
    cell, plain = code("#| hide\nf()\n", "1\n"), code("f()")
    cell["metadata"]["tags"] = ["mine"]
    hide.mark(cell)
    first, second = hide.tagged(book(cell, plain))["cells"]
    assert first["metadata"]["tags"] == ["mine", "hide-input", "hide-output"]
    assert second == plain and cell["metadata"]["tags"] == ["mine"]


def test_cleaning_keeps_the_folds(tmp_path):
    path = saved(tmp_path, code("#| hide\nassert 1\n"))
    hide.main([str(path)])
    before = path.read_text()
    command = "from nbdev.clean import nbdev_clean; import sys; nbdev_clean(sys.argv[1])"
    subprocess.run([sys.executable, "-c", command, path], cwd=ROOT, check=True)
    assert path.read_text() == before


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_is_folded(name):
    path = LESSONS[name]
    assert hide.marked(path) == lessons.read(path), "run python tools/hide.py"


# --- one form ------------------------------------------------------------------------------------

def broken(rule, cell):
    return [text for _, text in forms.places(book(cell), rule)]


@pytest.mark.parametrize("text", [
    "> 🔮 **Predict.** How many?",
    "> 📖 **Jargon.** A *loss* is a number.\n> It is small.",
    "> ⚠️ **Pitfall.** Careful.\n\nThen we go on.",
    "> 🧮 **Maths.** $x = 1$",
    "Before.\n\n> ✅ **Stop and check.** Why?",
    "We can predict, and the maths is **hard**. *What do you expect?*",
    "```\n**Predict.** in a block of code\n```",
])
def test_the_five_call_outs(text):
    assert not broken("callouts", prose(text))


@pytest.mark.parametrize("text", [
    "**Predict.** How many?",
    "*Predict: how many?*",
    "Seven. *Predict, then run:* how many?",
    "> **Predict.** How many?",
    "> 🔮 **Predict:** How many?",
    "> 🔮 *Predict.* How many?",
    "> ⚠ **Pitfall.** The icon without its variation selector.",
    "> 📖 **Pitfall.** Another one's icon.",
    "Before.\n> 🔮 **Predict.** In the same paragraph.",
    "> 🔮 **Predict.** One?\nAnd what follows.",
    "> 🔮 **Predict.** One? **Pitfall.** Two.",
    "> 💡 **Tip.** A sixth kind.",
    "💡 **Tip.** A sixth kind.",
])
def test_other_call_outs_are_found(text):
    assert broken("callouts", prose(text))


@pytest.mark.parametrize("text", [
    "**Exercises.** 1. Do this. 2. Do that.", "**Exercise.** Do this.",
    "1. Do this. 2. Do that.\n",
])
def test_exercises_that_run_on_are_found(text):
    assert broken("exercises", prose(text))


def test_exercises_that_are_a_list_are_fine():
    text = "## Exercises\n\n1. Do this.\n2. Do that. Then 3.5 times.\n\n## A bug to hunt\n\nHunt."
    assert not broken("exercises", prose(text))


def test_plain_numbers():
    assert broken("numpy", code("x", plain="[np.float64(0.5), 1]")) == ["np.float64(0.5)"]
    assert broken("numpy", code("x", plain="np.True_")) == ["np.True_"]
    assert not broken("numpy", code("np.float64(.5)", plain="0.5"))
    assert broken("digits", code("x", "0.82840000001 and 12.123456\n")) == ["0.82840000001"]
    assert not broken("digits", code("x", "0.8284\n", html="0.123456789"))


@pytest.mark.parametrize("rule", forms.FAULTS)
@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_has_the_common_form(name, rule):
    found = list(forms.places(lessons.read(LESSONS[name]), rule))
    assert not found, "\n".join(f"cell {i}: {text}" for i, text in found)


# --- questions -----------------------------------------------------------------------------------

def question(i, right=0):
    choice = [{"text": f"choice {k} of {i}", "why": f"because {k}"} for k in range(3)]
    choice[right] |= {"right": True}
    return {"ask": f"Why {i}?", "choice": choice}


def asked(n=8):
    data = {"question": [question(i, i % 3) for i in range(n)]}
    for one in data["question"][::2]:
        one["choice"][(questions.right_at(one) + 1) % 3]["text"] += ", and more"
    return data


def spoilt(change):
    data = deepcopy(asked())
    change(data["question"])
    return questions.faults(data)


def test_good_questions_have_no_faults():
    assert questions.faults(asked()) == [] == questions.faults(asked(12))


def all_first(qs):
    for q in qs:
        q["choice"].sort(key=lambda c: not c.get("right"))


def all_longest(qs):
    for q in qs:
        q["choice"][questions.right_at(q)]["text"] += " and much more of it"


BAD = {
    "there are 7 questions": lambda qs: qs.pop(),
    "2 choices": lambda qs: qs[0]["choice"].pop(),
    "exactly one right": lambda qs: qs[0]["choice"][1].update(right=True),
    "without a why": lambda qs: qs[0]["choice"][1].pop("why"),
    "one choice twice": lambda qs: qs[0]["choice"][1].update(text="Choice 0 of 0"),
    "asked twice": lambda qs: qs[1].update(ask="why 0?"),
    "something else": lambda qs: qs[0]["choice"][1].update(hint="?"),
    "nothing else": lambda qs: qs[0].update(hint="?"),
    "right choices are A": all_first,
    "nearly always the longest": all_longest,
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_questions_are_refused(fault):
    assert any(fault in said for said in spoilt(BAD[fault]))


def as_toml(data):
    lines = []
    for q in data["question"]:
        lines += ["[[question]]", f"ask = {json.dumps(q['ask'])}"]
        for choice in q["choice"]:
            lines += ["[[question.choice]]"]
            lines += [f"{key} = {json.dumps(value)}" for key, value in choice.items()]
    return "\n".join(lines)


def test_questions_stand_before_the_exercises_and_do_not_multiply(tmp_path):
    path = saved(tmp_path, prose("# A"), code("1"), prose("## Exercises\n\n1. Do."), name="a.ipynb")
    folder = tmp_path / "nbs" / "questions"
    folder.mkdir()
    file = folder / "a.toml"
    file.write_text(as_toml(asked()))
    with pytest.raises(SystemExit, match="Not what their files ask: a"):
        questions.main(["--check"], folder)
    questions.main([str(file)], folder)
    once = path.read_text()
    kinds = [lessons.source(c)[:14] for c in lessons.read(path)["cells"]]
    assert kinds == ["# A", "1", "<!-- questions", questions.QUIZ[:14], "## Exercises\n\n"[:14]]
    quiz = lessons.read(path)["cells"][3]
    assert lessons.source(quiz).endswith('quiz("a", above=True)')
    assert quiz["outputs"][0]["data"]["text/plain"] == [NO_KERNEL]
    questions.main([], folder)
    questions.main(["--check"], folder)
    assert path.read_text() == once
    text = lessons.source(lessons.read(path)["cells"][2])
    assert "## What have you understood?" in text
    assert text.count("<details>") == text.count("</details>") == 8
    assert "**2.** Why 1?\n\n- **A.** choice 0 of 1\n- **B.** choice 1 of 1\n" in text
    assert "**B is right.** because 1\n\n**A.** because 0\n\n**C.** because 2\n\n</details>" in text


def test_questions_about_nothing_are_refused(tmp_path):
    file = tmp_path / "nbs" / "questions" / "b.toml"
    file.parent.mkdir(parents=True)
    file.write_text(as_toml(asked()))
    with pytest.raises(SystemExit, match="asks about b.ipynb, which is not there"):
        questions.main([], file.parent)


def test_questions_of_a_lesson_without_exercises_stand_last():
    cells = questions.written(book(prose("# A"), code("1")), asked(), "questions/a.toml")["cells"]
    assert [questions.is_ours(c) for c in cells] == [False, False, True, True]
    cells = questions.written(book(prose("# A"), prose("<!-- links -->")), asked(), "a")["cells"]
    assert [questions.is_ours(c) for c in cells] == [False, True, True, False]


@pytest.mark.parametrize("file", ASKED, ids=lambda p: p.relative_to(questions.FOLDER).as_posix())
def test_a_questionnaire_is_in_its_lesson(file):
    questions.main([str(file), "--check"])


def test_every_core_lesson_asks():
    missing = [
        path for path in map(lessons.name, glossary.core())
        if not (questions.FOLDER / f"{path}.toml").is_file()
    ]
    assert not missing


def test_no_question_stands_without_its_file():
    files = {questions.lesson_of(file).resolve() for file in ASKED}
    ours = {
        path.resolve() for path in LESSONS.values()
        if any(map(questions.is_ours, lessons.read(path)["cells"]))
    }
    assert ours <= files


# --- the glossary --------------------------------------------------------------------------------

TERMS = {"learning rate": ["learning rate"], "head": ["head", "heads"], "loss": ["loss"]}
SAID = {"learning rate": "A. [b](x/b.ipynb)", "head": "H.", "loss": "L. [a](a.ipynb)"}


@pytest.fixture
def small(tmp_path):
    "A glossary of three terms, and what a lesson beside it becomes: linked(text, …)."
    text = "".join(f"\n\n### {term}\n\n{said}" for term, said in SAID.items())
    path = saved(tmp_path, prose("# Glossary"), prose(text), name="glossary.ipynb")
    table = "".join(f"{json.dumps(term)} = {json.dumps(w)}\n" for term, w in TERMS.items())
    path.with_suffix(".toml").write_text("[link]\n" + table)
    return path


def linked(small, *texts, name="c.ipynb"):
    path = saved(small.parents[1], *map(prose, texts), name=name)
    found = glossary.made([path], small)[path]
    return [lessons.source(cell) for cell in found["cells"]]


def test_the_first_use_of_a_term_is_linked(small):
    assert linked(small, "A head. Two heads.", "A head.") == [
        "A [head](glossary.ipynb#head). Two heads.", "A head.",
    ]
    assert linked(small, "**Heads** and a learning rate") == [
        "**[Heads](glossary.ipynb#head)** and a [learning rate](glossary.ipynb#learning-rate)"
    ]
    assert linked(small, "the loss", name="x/d.ipynb") == ["the [loss](../glossary.ipynb#loss)"]


@pytest.mark.parametrize("closed", [
    "# The loss", "# A\n\n> The loss of a subtitle.", "`loss`", "```\nloss\n```", "$loss$",
    "[the loss of it](x/b.ipynb)", "| loss | b |\n|---|---|", "<b>x</b><i title='loss'>",
    "<details><summary>Hint</summary>\n\nThe loss.\n\n</details>", "<!-- made by: loss -->\nloss",
    "## Exercises\n\n1. Find the loss.", "**A bug to hunt.** A loss.", "lossless, pre-loss",
])
def test_no_link_where_none_belongs(small, closed):
    assert linked(small, closed) == [closed]
    assert linked(small, closed, "a loss") == [closed, "a [loss](glossary.ipynb#loss)"]


def test_a_lesson_does_not_link_what_it_explains(small):
    assert linked(small, "a loss", name="a.ipynb") == ["a loss"]
    assert linked(small, "a learning rate", name="x/b.ipynb") == ["a learning rate"]


def test_linking_twice_is_linking_once(small):
    path = saved(small.parents[1], prose("A head with a loss, and a head."), name="c.ipynb")
    with pytest.raises(SystemExit, match="some terms of glossary, c:"):
        glossary.main([str(path), "--check"], small)
    glossary.main([str(path)], small)
    once = path.read_text(), small.read_text()
    glossary.main([str(path)], small)
    glossary.main([str(path), "--check"], small)
    assert (path.read_text(), small.read_text()) == once
    shown = lessons.source(lessons.read(small)["cells"][1])
    assert "[head](#head) · [learning rate](#learning-rate) · [loss](#loss)" in shown


def test_a_term_that_is_not_explained_is_refused(small):
    small.with_suffix(".toml").write_text('[link]\n"tail" = ["tail"]\n')
    with pytest.raises(SystemExit, match="does not explain tail"):
        glossary.made([], small)


def test_the_glossary_is_whole():
    said = glossary.entries(lessons.read(glossary.GLOSSARY))
    assert len(said) >= 80 and glossary.words().keys() <= said.keys()
    for term, text in said.items():
        assert term == term.lower() and re.fullmatch(r"[\w -]+", term), term
        assert glossary.homes(text), f"{term} links no lesson"
        assert all((lessons.NBS / home).is_file() for home in glossary.homes(text)), term


def test_first_uses_are_linked():
    glossary.main(["--check"])


@pytest.mark.parametrize("name", LESSONS)
def test_links_to_the_glossary_lead_to_terms(name):
    text = "\n".join(map(lessons.source, lessons.read(LESSONS[name])["cells"]))
    anchors = set(map(glossary.anchor, glossary.entries(lessons.read(glossary.GLOSSARY))))
    assert set(re.findall(r"glossary\.ipynb#([^)]+)\)", text)) <= anchors


# --- the scripts ---------------------------------------------------------------------------------

def test_what_is_checked_on_every_change():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    tools = re.findall(r"python tools/(\w+)\.py --check", script)
    assert {"prose_numbers", "hide", "forms", "questions", "glossary"} <= set(tools)


@pytest.mark.parametrize("content", [None, "[[question]\n"])
def test_a_file_of_questions_that_cannot_be_read_is_named(tmp_path, content):
    file = tmp_path / "x.toml"
    if content: file.write_text(content)
    with pytest.raises(SystemExit, match="x.toml cannot be read"):
        questions.checked(file)
