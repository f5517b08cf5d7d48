"""Write each lesson's questions, nbs/questions/**.toml, into the lesson.

python tools/questions.py [FILE …]    write `## What have you understood?`, choices, folded answers,
                                      and behind them the same as a quiz; all of them also
                                      go into results/widgets/questions.json
python tools/questions.py --check     exits with 1 if a lesson does not say what its file says

A file holds 8 to 12 questions:

    [[question]]
    ask = "Why …?"
    [[question.choice]]
    text = "…"
    right = true    # exactly one choice of three or four
    why = "…"       # every choice has its own explanation
"""
import hashlib
import json
import re
import sys
import tomllib
from collections import Counter
from pathlib import Path

import lessons

FOLDER = lessons.NBS / "questions"
MARK = "<!-- questions: tools/questions.py writes this cell from {}; edit that file -->"
HEADING = "## What have you understood?"
EXERCISES = re.compile(r"^## Exercises?\b|\*\*Exercises?\b", re.M)
QUESTIONS, CHOICES = range(8, 13), range(3, 5)
SAME_PLACE, LONGEST = .6, .75  # at most so many right choices stand in one place, or are longest


# --- the file ------------------------------------------------------------------------------------

def faults_of(question):
    "What is wrong with one question."
    choices = question.get("choice", [])
    texts = [choice.get("text", "").strip() for choice in choices]
    if set(question) - {"ask", "choice"} or not question.get("ask", "").strip():
        yield "has `ask` and `choice`, and nothing else"
    if len(choices) not in CHOICES:
        yield f"has {len(choices)} choices; there should be 3 or 4"
    if sum(choice.get("right") is True for choice in choices) != 1:
        yield "does not have exactly one right choice"
    if any(set(choice) - {"text", "right", "why"} for choice in choices):
        yield "has a choice with something else than text, right and why"
    if not all(texts) or not all(choice.get("why", "").strip() for choice in choices):
        yield "has a choice without a text or without a why"
    if len(set(map(str.casefold, texts))) < len(texts):
        yield "says one choice twice"


def right_at(question):
    "The place of the right choice."
    return next(i for i, choice in enumerate(question["choice"]) if choice.get("right"))


def is_longest(question):
    "Is the right choice longer than all others, by a tenth or more?"
    lengths = [len(choice["text"]) for choice in question["choice"]]
    right = lengths.pop(right_at(question))
    return right >= 1.1 * max(lengths)


def faults(data):
    "What is wrong with a file: a list of sentences."
    asked = data.get("question", [])
    found = [
        f"question {i} {fault}" for i, question in enumerate(asked, 1)
        for fault in faults_of(question)
    ]
    if len(asked) not in QUESTIONS:
        found.append(f"there are {len(asked)} questions; there should be 8 to 12")
    if len({question.get("ask", "").casefold() for question in asked}) < len(asked):
        found.append("a question is asked twice")
    if found:
        return found
    place, times = Counter(map(right_at, asked)).most_common(1)[0]
    if times > SAME_PLACE * len(asked):
        found.append(f"{times} of {len(asked)} right choices are {letter(place)}")
    if sum(map(is_longest, asked)) > LONGEST * len(asked):
        found.append("the right choice is nearly always the longest")
    return found


# --- the cell ------------------------------------------------------------------------------------

def letter(i):
    return "ABCD"[i]


def answer(question):
    "The explanation of every choice, the right one first."
    right = right_at(question)
    for i in sorted(range(len(question["choice"])), key=lambda i: i != right):
        said = f"**{letter(i)} is right.**" if i == right else f"**{letter(i)}.**"
        yield f"{said} {question['choice'][i]['why'].strip()}"


def rendered(question, number):
    lines = [f"**{number}.** {question['ask'].strip()}", ""]
    lines += [f"- **{letter(i)}.** {c['text'].strip()}" for i, c in enumerate(question["choice"])]
    lines += ["", f"<details><summary>Answer to {number}</summary>", ""]
    return "\n".join([*lines, "\n\n".join(answer(question)), "", "</details>"])


def cell_text(data, file):
    "The Markdown of all questions."
    parts = [rendered(question, i) for i, question in enumerate(data["question"], 1)]
    return "\n\n".join([MARK.format(file), HEADING, "\n\n---\n\n".join(parts)])


QUIZ = "from sft_nb.widgets.quizzes import quiz"  # the first line of the cell behind the questions
NO_KERNEL = "With a running kernel, the questions above answer back here: run this cell."


def quiz_cell(file):
    "The same questions as a quiz, for whoever has a kernel."
    name = Path(file).with_suffix("").as_posix()
    said = {"data": {"text/plain": [NO_KERNEL]}, "execution_count": None, "metadata": {},
            "output_type": "execute_result"}
    cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [said],
            "id": hashlib.sha256(f"quiz {file}".encode()).hexdigest()[:8], "source": []}
    lessons.set_source(cell, f'{QUIZ}\nquiz("{name}", above=True)')
    return cell


def is_ours(cell):
    source = lessons.source(cell)
    return source.startswith(("<!-- questions:", QUIZ))


def place(cells):
    "Before the exercises; where there are none at the end, before links that another tool writes."
    for i, cell in enumerate(cells):
        if lessons.is_prose(cell) and EXERCISES.search(lessons.source(cell)):
            return i
    end = len(cells)
    while end and lessons.source(cells[end - 1]).startswith("<!-- "):
        end -= 1
    return end


def written(book, data, file):
    "A lesson with its questions."
    cells = [cell for cell in book["cells"] if not is_ours(cell)]
    name = hashlib.sha256(file.encode()).hexdigest()[:8]
    cell = {"cell_type": "markdown", "id": name, "metadata": {}, "source": []}
    lessons.set_source(cell, cell_text(data, file))
    at = place(cells)
    return book | {"cells": [*cells[:at], cell, quiz_cell(file), *cells[at:]]}


# --- all of them ---------------------------------------------------------------------------------

def lesson_of(file, folder=FOLDER):
    "The lesson that a file asks about."
    lesson = folder.parent / Path(file).resolve().relative_to(folder).with_suffix(".ipynb")
    if not lesson.is_file():
        raise SystemExit(f"{file} asks about {lesson.name}, which is not there")
    return lesson


def checked(file):
    "The questions of a file, or an error that says what is wrong with it."
    try:
        data = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise SystemExit(f"{file} cannot be read as a file of questions: {e}") from e
    if found := faults(data):
        raise SystemExit("\n".join(f"{file}: {fault}" for fault in found))
    return data


def all_questions(folder=FOLDER):
    "What the package brings along: lesson -> questions, as one text."
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.toml")]
    found = {name: checked(folder / f"{name}.toml")["question"] for name in sorted(names)}
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n"


def bring_along(words, folder=FOLDER):
    "Write that file, or say that it is not up to date."
    file = folder.parents[1] / "results" / "widgets" / "questions.json"
    text = all_questions(folder)
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    if "--check" in words:
        raise SystemExit(f"{file.name} is not up to date. Run python tools/questions.py")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def main(words, folder=FOLDER):
    named = [Path(word) for word in words if not word.startswith("--")]
    stale = []
    for file in named or sorted(folder.rglob("*.toml")):
        data, lesson = checked(file), lesson_of(file, folder)
        book = lessons.read(lesson)
        new = written(book, data, lesson.with_suffix(".toml").relative_to(folder.parent).as_posix())
        if "--check" in words and new != book:
            stale.append(lesson.stem)
        if "--check" not in words and lessons.write(lesson, new):
            print(lessons.name(lesson))
    if stale:
        raise SystemExit(f"Not what their files ask: {', '.join(stale)}. "
                         "Run python tools/questions.py")
    if not named:
        bring_along(words, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
