"""Lost links and remote files in built pages."""
import os
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser fetches by itself. A link that somebody clicks may lead anywhere.
FETCHED = {
    "script": ["src"], "img": ["src", "srcset"], "iframe": ["src"], "source": ["src", "srcset"],
    "video": ["src", "poster"], "audio": ["src"], "embed": ["src"], "object": ["data"],
    "image": ["href", "xlink:href"], "use": ["href", "xlink:href"], "input": ["src"],
}
QUIET = {"canonical", "next", "prev", "index", "search", "author", "copyright"}  # <link rel=…>
IN_CSS = re.compile(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)")


class Page(HTMLParser):
    "The links, the anchors and the fetched files of a page."

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.links, self.fetched, self.anchors, self.style = [], [], set(), False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        said = {name: value or "" for name, value in attributes}
        self.style = tag == "style"
        self.anchors |= {said[name] for name in ("id", "name") if name in said}
        if tag == "a" and "href" in said:
            self.links.append(said["href"])
        if tag == "link" and not set(said.get("rel", "").split()) & QUIET:
            self.fetched.append(said.get("href", ""))
        self.fetched += [said[name] for name in FETCHED.get(tag, ()) if said.get(name)]
        self.fetched += in_css(said.get("style", ""))

    def handle_data(self, data):
        if self.style:
            self.fetched += in_css(data)


def in_css(text): return ["".join(found) for found in IN_CSS.findall(text)]


@cache
def file(folder, address):
    "The file at an address, or None."
    target = Path(os.path.normpath(folder / address))
    if target.is_dir():
        target /= "index.html"
    return target if target.is_file() else None


@cache
def read(path): return Page(path.read_text(encoding="utf-8"))


def lost(page, link):
    "Does a link of a page lead nowhere?"
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return False
    target = file(page.parent, unquote(parts.path)) if parts.path else page
    if target is None:
        return True
    anchor = unquote(parts.fragment)
    return bool(anchor) and target.suffix == ".html" and anchor not in read(target).anchors


def remote(address):
    "Does an address lead to another machine?"
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def findings(out):
    "Sentences about lost links and remote files of the pages in a folder."
    out, said = Path(out).resolve(), []
    read.cache_clear()
    file.cache_clear()
    for path in sorted(out.rglob("*.html")):
        name, page = path.relative_to(out).as_posix(), read(path)
        said += [f"{name}: {link} leads nowhere." for link in page.links if lost(path, link)]
        near = [a for a in page.fetched if not remote(a) and not a.startswith("data:")]
        said += [f"{name}: {link} is not there." for link in near if lost(path, link)]
        said += [f"{name}: {a} would be fetched from elsewhere." for a in page.fetched if remote(a)]
    for path in sorted(out.rglob("*.css")):
        far = [a for a in in_css(path.read_text(encoding="utf-8")) if remote(a)]
        said += [f"{path.relative_to(out)}: {a} would be fetched from elsewhere." for a in far]
    return list(dict.fromkeys(said))
