"""How long every notebook runs: processor seconds.

Writes results/lessons.json, a notebook at a time.

python tests/bench/lessons.py [--only training/,02_task] [--again]

A notebook runs as in tests/test_notebooks.py, in a process that is forked from one that has loaded
the libraries: a reader's first import takes some seconds more. Seconds of the processor, of
children too, so that a busy machine does not count. Cells flagged slow are left out, but for the
lessons that nbs/course.toml calls slow. What is already in the file is skipped, unless --again.
"""
import importlib
import os
import sys
import tempfile
from pathlib import Path

from series import RESULTS, command_line, has, listed, machine, save, stored

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "tools")]
from course import there
from test_notebooks import LIBRARIES, NOTEBOOKS, ROOT, execute

OUT = RESULTS / "lessons.json"
WHOLE = {f"{lesson.path}.ipynb" for lesson in there() if lesson.slow}


def alone(name, output):
    "In the child: run it, and end, whatever happens."
    skip = "notest gpu" if name in WHOLE else "notest slow gpu"
    try:
        execute(ROOT / "nbs" / name, skip, output, False)
    finally:
        os._exit(1)


def run(name):
    "Processor seconds of one notebook, in a process of its own."
    with tempfile.NamedTemporaryFile() as output:
        child = os.fork()
        if not child: alone(name, output.name)
        _, status, used = os.wait4(child, 0)
        if status: raise SystemExit(f"{name}: {Path(output.name).read_text()[-3000:]}")
    return used.ru_utime + used.ru_stime


def main(only, again):
    for library in LIBRARIES:
        importlib.import_module(library)
    file = stored(OUT, {"runs": []})
    for name in NOTEBOOKS:
        if only and not name.startswith(tuple(only)): continue
        if has(file["runs"], notebook=name) and not again: continue
        found = {"notebook": name, "processor_seconds": round(run(name), 1)}
        others = [one for one in file["runs"] if one["notebook"] != name]
        runs = sorted([*others, found], key=lambda one: one["notebook"])
        save({"machine": machine(), "runs": runs}, OUT)
        file = stored(OUT, {})
        print(found, flush=True)


if __name__ == "__main__":
    parser = command_line(__doc__)
    parser.add_argument("--only", type=listed, default=[])
    parser.add_argument("--again", action="store_true")
    given = parser.parse_args()
    main(given.only, given.again)
