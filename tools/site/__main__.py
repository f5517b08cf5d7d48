"""Build the site from the notebooks.

python -m tools.site [--out FOLDER] [--jobs N] [--try]

The site is a folder of pages that any server can serve. Nothing is fetched, here or by a reader's
browser; a warning of Sphinx's is an error, and so are a lost link and a remote file.

--try puts the page that fine-tunes in the browser (tools/web.py) beside it, and fetches its model.
"""
import argparse
import shutil
import sys
from pathlib import Path

from . import ROOT
from .build import build


def main(words=None):
    parser = argparse.ArgumentParser(prog="python -m tools.site", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "_docs", help="where the site goes")
    parser.add_argument("--jobs", default="1", help="processes that read and write pages")
    parser.add_argument("--try", dest="page", action="store_true", help="with the page to try")
    asked = parser.parse_args(words)
    if asked.out.exists():
        shutil.rmtree(asked.out)
    if wrong := build(asked.out, asked.jobs, asked.page):
        sys.exit("\n".join(wrong))
    print(f"The site is in {asked.out}: open index.html.")


if __name__ == "__main__":
    main()
