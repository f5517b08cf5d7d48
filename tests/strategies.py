"""What the property-based tests draw: boxes, tags, tables, lengths."""
import pandas as pd
from hypothesis import strategies as st

from sft_nb.data.table_facts import note

# --- boxes: whole pixels of a picture ---

def sides(length):
    "Two different places on a line, in order."
    return st.sets(st.integers(0, length), min_size=2, max_size=2).map(sorted)


def boxes(width=60, height=60):
    "A box: [left, top, right, bottom]."
    def corners(both):
        (left, right), (top, bottom) = both
        return [left, top, right, bottom]
    return st.tuples(sides(width), sides(height)).map(corners)


def objects(labels="abc", **size):
    return st.fixed_dictionaries({"label": st.sampled_from(labels), "xyxy": boxes(**size)})


def near(thing):
    "The same thing, with every side up to two pixels further out."
    def moved(steps):
        signs = (-1, -1, 1, 1)
        xyxy = [v + sign * n for v, sign, n in zip(thing["xyxy"], signs, steps, strict=True)]
        return thing | {"xyxy": xyxy}
    return st.tuples(*[st.integers(0, 2)] * 4).map(moved)


@st.composite
def answers(draw, truth, labels="abc", most=2):
    "What a model may say of one picture: some things found about right, and some others."
    found = [draw(near(thing)) for thing in truth if draw(st.booleans())]
    others = draw(st.lists(objects(labels), max_size=most))
    scores = st.integers(1, 5).map(lambda n: n / 5)  # few, so that some are equal
    return [thing | {"score": draw(scores)} for thing in [*found, *others]]


@st.composite
def scenes(draw, labels="abc", pictures=4):
    "(answers, truths), a list of things each for every picture."
    truths = draw(st.lists(st.lists(objects(labels), max_size=3), min_size=1, max_size=pictures))
    return [draw(answers(truth, labels)) for truth in truths], truths


# --- tags ---

def tags(letters, least=0, most=7, kinds=("x", "y-z")):
    "Tags of a sentence with these letters; whether they are grammatical is left open."
    every = ["O", *(f"{letter}-{kind}" for letter in letters for kind in kinds)]
    return st.lists(st.sampled_from(every), min_size=least, max_size=most)


@st.composite
def sentences(draw, least=0, most=7, kinds=("x", "y-z")):
    "Correct tags of a sentence, in IOB2: what an I- stands for has begun."
    letters, last, found = st.sampled_from("OBI"), None, []
    drawn = draw(st.lists(letters, min_size=least, max_size=most))
    for letter in drawn:
        if letter == "I" and last is None: letter = "B"
        if letter == "B": last = draw(st.sampled_from(kinds))
        if letter == "O": last = None
        found.append("O" if letter == "O" else f"{letter}-{last}")
    return found


# --- tables ---

@st.composite
def grouped_tables(draw, most=12):
    "Rows (text, label, group), of groups that hold one to nine of them."
    sizes = draw(st.lists(st.integers(1, 9), min_size=6, max_size=most))
    groups = [f"group {i}" for i, size in enumerate(sizes) for _ in range(size)]
    labels = st.sampled_from(["usual", "usual", "usual", "rare"])
    label = [draw(labels) for _ in groups]
    rows = pd.DataFrame({"text": [f"text {i}" for i in range(len(groups))], "label": label})
    rows["group"] = groups
    return note(rows, target="label")


# what a cell of a table may hold: texts, numbers, and lists of them
plain_cells = st.one_of(
    st.text(max_size=6), st.integers(-10**6, 10**6), st.booleans(),
    st.floats(allow_nan=False, width=32), st.lists(st.text(max_size=3), max_size=3),
)


def seeds(): return st.integers(0, 10**6)
