"""Catalogues of gettext as people and their tools write them."""

import pytest

from sft_nb.data.asset_tables import read_gettext
from sft_nb.task import DataError
from sft_nb.tasks.writing.translation import read_po

HEAD = 'msgid ""\nmsgstr ""\n"Language: de\\n"\n"Plural-Forms: nplurals=3; plural=0;\\n"\n\n'

# the text of a catalogue -> (source, target) of every entry
READ = {
    "a blank line between": (
        'msgid "May"\nmsgstr "Mai"\n\nmsgid "four"\nmsgstr "vier"\n',
        [("May", "Mai"), ("four", "vier")],
    ),
    "no blank line between": (
        'msgid "May"\nmsgstr "Mai"\nmsgid "four"\nmsgstr "vier"\nmsgid "five"\nmsgstr "fünf"\n',
        [("May", "Mai"), ("four", "vier"), ("five", "fünf")],
    ),
    "a comment between": (
        'msgid "May"\nmsgstr "Mai"\n# a month\nmsgid "four"\nmsgstr "vier"\n',
        [("May", "Mai"), ("four", "vier")],
    ),
    "a context between": (
        'msgid "May"\nmsgstr "Mai"\nmsgctxt "number"\nmsgid "four"\nmsgstr "vier"\n',
        [("May", "Mai"), ("four", "vier")],
    ),
    "a blank line inside": ('msgid "May"\n\nmsgstr "Mai"\n', [("May", "Mai")]),
    "several lines": (
        'msgid ""\n"Two lines,\\n"\n"one text"\nmsgstr "Zwei "\n"Zeilen"\n',
        [("Two lines,\none text", "Zwei Zeilen")],
    ),
    "escapes": (
        'msgid "a \\"b\\" \\\\n\\tc"\nmsgstr "C:\\\\new\\n"\n',
        [('a "b" \\n\tc', "C:\\new\n")],
    ),
    "signs that Python escapes": (
        'msgid "it\'s 100 %"\nmsgstr "{\'x\'}"\n',
        [("it's 100 %", "{'x'}")],
    ),
    "plural forms": (
        HEAD
        + 'msgid "one %d"\nmsgid_plural "many"\nmsgstr[0] "ein"\nmsgstr[1] "zwei"\nmsgstr[2] "x"\n',
        [("one %d", "ein")],
    ),
    "more plural forms than the head says": (
        'msgid "one"\nmsgid_plural "many"\nmsgstr[0] "a"\nmsgstr[1] "b"\nmsgstr[2] "c"\n',
        [("one", "a")],
    ),
    "fuzzy": ('#, fuzzy\nmsgid "a"\nmsgstr "b"\n\nmsgid "c"\nmsgstr "d"\n', [("c", "d")]),
    "fuzzy among flags": ('#, c-format, fuzzy\nmsgid "a %d"\nmsgstr "b"\n', []),
    "a remark about fuzzy": (
        '#. fuzzy edges\n#: fuzzy.py:3\nmsgid "a"\nmsgstr "b"\n',
        [("a", "b")],
    ),
    "the flag no-fuzzy-format": ('#, no-fuzzy-format\nmsgid "a"\nmsgstr "b"\n', [("a", "b")]),
    "fuzzy ends with its entry": (
        '#, fuzzy\nmsgid "a"\nmsgstr "b"\nmsgid "c"\nmsgstr "d"\n',
        [("c", "d")],
    ),
    "obsolete": (
        'msgid "a"\nmsgstr "b"\n\n#~ msgid "old"\n#~ msgstr "alt"\n#~ "er"\n',
        [("a", "b")],
    ),
    "obsolete with what it was before": (
        '#~| msgid "older"\n#~ msgid "old"\n#~ msgstr "alt"\nmsgid "a"\nmsgstr "b"\n',
        [("a", "b")],
    ),
    "what it was before": ('#, c-format\n#| msgid "was"\nmsgid "a"\nmsgstr "b"\n', [("a", "b")]),
    "a ruled line": ('#-----------\n# Menus\nmsgid "a"\nmsgstr "b"\n', [("a", "b")]),
    "a text twice": (
        'msgid "a"\nmsgstr "b"\n\nmsgid "a"\nmsgstr "c"\n',
        [("a", "b"), ("a", "c")],
    ),
    "a text twice, once fuzzy": (
        'msgid "a"\nmsgstr "b"\n\n#, fuzzy\nmsgid "a"\nmsgstr "c"\n',
        [("a", "b")],
    ),
    "nothing yet": ('msgid "a"\nmsgstr ""\n', [("a", "")]),
    "a head that says nonsense": (
        'msgid ""\nmsgstr ""\n"PO-Revision-Date: soon\\n"\n"Language: klingon\\n"\n'
        '"Plural-Forms: nplurals=INTEGER\\n"\n"no colon"\n\nmsgid "a"\nmsgstr "b"\n',
        [("a", "b")],
    ),
    "indented": ('  msgid "a"\n  msgstr "b"\n', [("a", "b")]),
    "other line ends inside": ('msgid "a\u2028b"\nmsgstr "c\x0cd"\n', [("a\u2028b", "c\x0cd")]),
    "nothing": ("", []),
    "comments alone": ("# by nobody\n#, fuzzy\n", []),
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("case", READ)
def test_a_catalogue_is_read(case, end, tmp_path):
    text, wanted = READ[case]
    (tmp_path / "a.po").write_text(text, encoding="utf-8", newline=end)
    assert read_po(tmp_path / "a.po") == wanted


NOT = {
    "no quotes": ('msgid "a"\nmsgstr b\n', r"a\.po, line 2: no entry.*double quotes"),
    "single quotes": ("msgid 'a'\nmsgstr 'b'\n", r"a\.po, line 1: no entry"),
    "an open quote": ('msgid "a"\nmsgstr "b\n', r"a\.po, line 2: no entry"),
    "a quote inside": ('msgid "a"\nmsgstr "b" c"\n', r"a\.po, line 2: no entry"),
    "a word alone": ('msgid "a"\nmsgstr "b"\nhello\n', r"a\.po, line 3: no entry"),
    "another keyword": ('msgid "a"\nmsgtxt "b"\n', r"a\.po, line 2: no entry"),
    "another keyword and no number": ('msgid "a"\nmsgstr[x] "b"\n', r"a\.po, line 2: no entry"),
    "an unknown escape": (
        'msgid "a"\nmsgstr "\\x41"\n',
        r"a\.po, line 2: .*\\x.*Write the sign itself",
    ),
    "cut short": (
        'msgid "a"\nmsgstr "b"\n\nmsgid "c"\n',
        r"a\.po, line 4: an msgid without msgstr",
    ),
    "cut in the middle": (
        'msgid "a"\nmsgid "c"\nmsgstr "d"\n',
        r"a\.po, line 1: an msgid without msgstr",
    ),
    "msgstr first": ('msgstr "x"\nmsgid "a"\nmsgstr "b"\n', r"a\.po, line 1: msgstr .*without"),
    "msgstr twice": ('msgid "a"\nmsgstr "b"\nmsgstr "c"\n', r"a\.po, line 3: msgstr .*without"),
    "a text first": ('"x"\nmsgid "a"\nmsgstr "b"\n', r"a\.po, line 1: "),
    "a text after a comment": ('msgid "a"\nmsgstr "b"\n# c\n"d"\n', r"a\.po, line 4: "),
    "plural, but one answer": (
        'msgid "a"\nmsgid_plural "b"\nmsgstr "c"\n',
        r"a\.po, line 3: msgstr .*without",
    ),
    "a form of no plural": ('msgid "a"\nmsgstr[0] "c"\n', r"a\.po, line 2: msgstr\[0\] .*without"),
    "a thousand forms": (
        'msgid "a"\nmsgid_plural "b"\nmsgstr[99999999999] "c"\n',
        r"a\.po, line \d: .*translations",
    ),
}


@pytest.mark.parametrize("case", NOT)
def test_what_is_no_catalogue_is_refused_with_its_line(case, tmp_path, capsys):
    text, words = NOT[case]
    (tmp_path / "a.po").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_po(tmp_path / "a.po")
    assert capsys.readouterr() == ("", "")


def test_context_plural_and_line_are_kept():
    text = HEAD + 'msgctxt "month name"\nmsgid "May"\nmsgstr "Mai"\n#, fuzzy\nmsgid "a"\n'
    text += 'msgid_plural "b"\nmsgstr[0] "c"\nmsgstr[1] "d"\n'
    may, plural = read_gettext(text.splitlines(), "x.po")
    assert may == ("May", "Mai", "month name", False, False, 7)
    assert plural == ("a", "c", "", True, True, 10)


def test_many_entries_take_no_time(tmp_path):
    entries = [f'msgid "text {n}"\nmsgstr "Text {n}"\n' for n in range(20_000)]
    (tmp_path / "a.po").write_text("".join(entries))
    assert len(read_po(tmp_path / "a.po")) == 20_000
