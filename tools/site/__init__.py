"""The site: the notebooks as pages that need no server and no network.

stage.py      the notebooks as myst-nb reads them
api.py        the reference, from the exported modules
pages.py      parts of the course, and the page for teachers
cards.py      pictures for previews of links
conf.py       Sphinx's settings; extension.py adds formulas, neighbours and links to each page
check.py      lost links and remote files in what was built
"""
import sys
from configparser import ConfigParser
from pathlib import Path

TOOLS = Path(__file__).parents[1]
ROOT = TOOLS.parent
if str(TOOLS) not in sys.path:  # behind the others: `site` is also a module of Python's own
    sys.path.append(str(TOOLS))

_settings = ConfigParser(delimiters=["="])
_settings.read(ROOT / "settings.ini", encoding="utf-8")
SETTINGS = _settings["DEFAULT"]
