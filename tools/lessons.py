"""Reading and writing the notebooks, for the tools that look at all of them."""
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NBS = ROOT / "nbs"
DIRECTIVE = re.compile(r"^#\| *([\w-]+)", re.M)


def every(root=NBS):
    "The notebooks of a folder, without what begins with a dot or an underscore."
    for path in sorted(root.rglob("*.ipynb")):
        if not any(part.startswith((".", "_")) for part in path.relative_to(root).parts):
            yield path


def chosen(words, root=NBS):
    "The notebooks that a command line names; all of them if it names none."
    named = [Path(word) for word in words if not word.startswith("--")]
    return named or list(every(root))


def name(path):
    "A notebook's name in lists: its path below nbs/, without the ending."
    parts = Path(path).resolve().with_suffix("").parts
    return "/".join(parts[parts.index("nbs") + 1:] if "nbs" in parts else parts[-1:])


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write(path, book):
    "The file as nbdev_clean writes it. Gives whether it changed."
    text = json.dumps(book, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if Path(path).read_text(encoding="utf-8") == text:
        return False
    Path(path).write_text(text, encoding="utf-8")
    return True


def source(cell):
    return "".join(cell["source"])


def set_source(cell, text):
    cell["source"] = text.splitlines(keepends=True)


def directives(cell):
    "The names after `#|` in a code cell."
    return set(DIRECTIVE.findall(source(cell))) if cell["cell_type"] == "code" else set()


def is_prose(cell):
    return cell["cell_type"] == "markdown"


def texts(cell):
    "(kind, text) of everything that a code cell shows as text: kind is a MIME type."
    for output in cell.get("outputs", ()):
        if "text" in output:
            yield "text/plain", "".join(output["text"])
        for kind, data in output.get("data", {}).items():
            if kind.startswith("text/"):
                yield kind, "".join(data)
