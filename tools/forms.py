"""Forms that all lessons share: call-outs, exercises, plain numbers in outputs.

python tools/forms.py [NOTEBOOK …] [--rule=NAME]    places that have another form
python tools/forms.py --check                       exits with 1 if there are any

    callouts   exactly five, a blockquote of its own that begins with icon and word
    exercises  a list, a line each
    numpy      no output says np.float64(0.5) for 0.5
    digits     no output shows a share with more than four decimals (told, and no fault)
"""
import re
import sys

import lessons

ICONS = {"Predict": "🔮", "Jargon": "📖", "Pitfall": "⚠️", "Maths": "🧮", "Stop and check": "✅"}
WORDS = "|".join(ICONS)
CALLED = re.compile(rf"\*{{1,2}}(?:{WORDS})\b(?=[^*]*\*)")
BEGINNINGS = "|".join(rf"{icon} \*\*{word}\.\*\* " for word, icon in ICONS.items())
OPENING = re.compile(f"> (?:{BEGINNINGS})")
WITH_ICON = re.compile(r"^>? ?[\u2600-\u27bf\U0001f300-\U0001faff]\ufe0f? \*\*", re.M)
RUN_ON = re.compile(r"\*\*Exercises?\.?\*\*\.? +\S.*|^1\. .*[.?!)] 2\. .*", re.M)
NUMPY = re.compile(r"\bnp\.(?:(?:float|int|uint|bool|str)\w*\([^()]*\)|True_|False_)")
SHARE = re.compile(r"(?<![\w.])[01]?\.\d{5,}(?![\w.])")


def paragraphs(text):
    "The paragraphs of a prose cell, without blocks of code."
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return [part.strip("\n") for part in re.split(r"\n[ \t]*\n", text) if part.strip()]


def is_callout(paragraph):
    "Is a paragraph one of the five, and nothing else?"
    alone = all(line.startswith(">") for line in paragraph.splitlines())
    return alone and bool(OPENING.match(paragraph)) and len(CALLED.findall(paragraph)) == 1


def callouts(cell):
    "Paragraphs that call out in another form."
    if not lessons.is_prose(cell):
        return
    for paragraph in paragraphs(lessons.source(cell)):
        calls = CALLED.search(paragraph) or WITH_ICON.search(paragraph)
        if calls and not is_callout(paragraph):
            yield paragraph[max(0, calls.start() - 20):calls.start() + 60]


def exercises(cell):
    "Exercises that stand in one paragraph."
    if lessons.is_prose(cell):
        yield from (found[0][:80] for found in RUN_ON.finditer(lessons.source(cell)))


def numpy(cell):
    for _, text in lessons.texts(cell):
        yield from sorted({found[0] for found in NUMPY.finditer(text)})


def digits(cell):
    for kind, text in lessons.texts(cell):
        if kind != "text/html":
            yield from sorted({found[0] for found in SHARE.finditer(text)})[:3]


RULES = {"callouts": callouts, "exercises": exercises, "numpy": numpy, "digits": digits}
FAULTS = "callouts", "exercises", "numpy"  # digits may mean something


def places(book, rule):
    "(number of the cell, what stands there) of what breaks a rule."
    for i, cell in enumerate(book["cells"]):
        for text in RULES[rule](cell):
            yield i, re.sub(r"\s+", " ", text)


def main(words):
    asked = [word.removeprefix("--rule=") for word in words if word.startswith("--rule=")]
    check, count = "--check" in words, 0
    for rule in asked or (FAULTS if check else RULES):
        for path in lessons.chosen(words):
            for i, text in places(lessons.read(path), rule):
                print(f"{rule}: {lessons.name(path)} cell {i}: {text}")
                count += 1
    if check and count:
        raise SystemExit(f"{count} places have another form: see the head of tools/forms.py")


if __name__ == "__main__":
    main(sys.argv[1:])
