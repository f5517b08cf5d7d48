"""Copy what the package brings along for its screens: stored runs, and the lessons' questions.

python tools/shipped.py            write the files
python tools/shipped.py --check    exits with 1 if one is not up to date

results/widgets/NAME.json becomes sft_nb/widgets/stored/NAME.json, without blanks and without the
machine; nbs/questions/**.toml become one file, sft_nb/widgets/stored/questions.json.
"""
import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUT = ROOT / "sft_nb" / "widgets" / "stored"
LARGEST = 200_000  # bytes of a file


def runs():
    "(name, content) of every file of stored runs."
    for path in sorted((ROOT / "results" / "widgets").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("machine", None)
        yield path.stem, content


def questions():
    "Lesson -> its questions."
    folder = ROOT / "nbs" / "questions"
    paths = sorted(folder.rglob("*.toml"))
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    texts = [path.read_text(encoding="utf-8") for path in paths]
    return {n: tomllib.loads(t)["question"] for n, t in zip(names, texts, strict=True)}


def files():
    "Path -> text of every file that should be there."
    for name, content in [*runs(), ("questions", questions())]:
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"
        if len(text.encode()) > LARGEST:
            raise SystemExit(f"{name}: {len(text.encode()):,} bytes, and {LARGEST:,} are allowed.")
        yield OUT / f"{name}.json", text


def main(words):
    stale = [p for p, text in files() if not p.exists() or p.read_text(encoding="utf-8") != text]
    if "--check" in words and stale:
        raise SystemExit(f"Not up to date: {', '.join(p.name for p in stale)}. "
                         "Run python tools/shipped.py")
    if "--check" not in words:
        OUT.mkdir(exist_ok=True)
        for path, text in files():
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
