"""The reverse of `to_iob2`, for tests that need files in every scheme."""
from sft_nb.tasks.tagging.schemes import SCHEMES, tag_parts


def letter_in(scheme, letter, ends, touches_before, touches_after):
    "What an IOB2 letter of an entity becomes."
    if scheme == "IOB2":
        return letter
    if scheme == "IOB1":
        return "B" if touches_before else "I"
    if scheme == "IOE2":
        return "E" if ends else "I"
    if scheme == "IOE1":
        return "E" if touches_after else "I"
    begin, inside, end, single = SCHEMES[scheme]
    if letter == "B":
        return single if ends else begin
    return end if ends else inside


def from_iob2(tags, scheme):
    "Correct IOB2, written in another scheme."
    out = []
    for before, tag, after in zip(["O", *tags], tags, [*tags[1:], "O"], strict=False):
        letter, kind = tag_parts(tag)
        touches_before = letter == "B" and tag_parts(before)[1] == kind
        touches_after = after == f"B-{kind}"
        ends = after != f"I-{kind}"
        new = letter_in(scheme, letter, ends, touches_before, touches_after)
        out.append("O" if tag == "O" else f"{new}-{kind}")
    return out
