"""Make README.md from nbs/index.ipynb: prose, code, and outputs as text; no quarto needed.

python tools/build_readme.py            from the outputs that are saved in the notebook
python tools/build_readme.py --run      run the notebook first: every output is of this moment
python tools/build_readme.py --check    is README.md up to date?
"""
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
HEAD = "<!-- Made from nbs/index.ipynb by tools/build_readme.py: edit the notebook. -->\n\n"


def linked(text):
    "Links seen from the folder above; GitHub knows headings in small letters."
    text = re.sub(r"\]\(#[\w-]+\)", lambda match: match[0].lower(), text)
    return re.sub(r"\]\((?!https?:|#|nbs/)([\w/]+\.(?:ipynb|svg))\)", r"](nbs/\1)", text)


def cell_text(cell):
    source = "\n".join(
        line for line in cell.source.splitlines() if not line.startswith("#|")
    ).strip()
    if not source or re.search(r"^#\| hide$", cell.source, re.M): return ""
    if cell.cell_type == "markdown": return linked(source)
    code = "" if "#| echo: false" in cell.source else f"```python\n{source}\n```"
    if "#| hide_output" in cell.source: return code
    texts = [
        o.get("text") or o["data"].get("text/plain", "")
        for o in cell.outputs
        if "text/markdown" not in o.get("data", {}) and "image/png" not in o.get("data", {})
    ]
    tables = [
        linked(o["data"]["text/markdown"])
        for o in cell.outputs
        if "text/markdown" in o.get("data", {})
    ]
    plain = "".join(t.rstrip("\n") + "\n" for t in texts if t)
    return "\n\n".join(p for p in (code, f"```text\n{plain}```" if plain else "", *tables) if p)


def readme():
    nb = nbformat.read(ROOT / "nbs" / "index.ipynb", 4)
    return HEAD + "\n\n".join(t for c in nb.cells if (t := cell_text(c))) + "\n"


def run():
    "Execute the notebook in place, as a reader would, and clean it."
    from nbclient import NotebookClient

    path = ROOT / "nbs" / "index.ipynb"
    nb = nbformat.read(path, 4)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    NotebookClient(
        nb, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    nbformat.write(nb, path)
    subprocess.run(["nbdev_clean", "--fname", str(path)], check=True)


if __name__ == "__main__":
    path = ROOT / "README.md"
    if "--run" in sys.argv: run()
    if "--check" in sys.argv and path.read_text(encoding="utf-8") != readme():
        sys.exit("README.md is not what nbs/index.ipynb makes: run python tools/build_readme.py")
    path.write_text(readme(), encoding="utf-8")
