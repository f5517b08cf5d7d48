"""What Sphinx does not do by itself: formulas as MathML, neighbours from the course, links of a
lesson, and what a preview of a link shows.
"""
import re
from html import escape
from urllib.parse import quote

from latex2mathml.converter import convert
from sphinx.util.osutil import relative_uri

from . import ROOT
from .pages import Course

COLAB = "https://colab.research.google.com/github"
BINDER = "https://mybinder.org/v2/gh"
OPERATORS = {r"\arg\min": r"\operatorname{arg\,min}", r"\arg\max": r"\operatorname{arg\,max}"}


# --- formulas ------------------------------------------------------------------------------------

def mathml(formula, display):
    "A formula as MathML, with its source for those who copy it."
    for said, meant in OPERATORS.items():
        formula = formula.replace(said, meant)
    made = convert(formula, display=display)
    return made.replace("<math ", f'<math alttext="{escape(formula, quote=True)}" ', 1)


def inline(self, node):
    from docutils.nodes import SkipNode
    self.body.append(f'<span class="math">{mathml(node.astext(), "inline")}</span>')
    raise SkipNode


def block(self, node):
    from docutils.nodes import SkipNode
    made = mathml(node.astext(), "block")
    around = 'class="math" tabindex="0" role="group" aria-label="formula"'  # it may scroll
    self.body.append(f"<div {around}>{made}</div>")
    raise SkipNode


# --- pages ---------------------------------------------------------------------------------------

def repository(git_url):
    "owner/name"
    return "/".join(git_url.rstrip("/").split("/")[-2:])


def notebook_links(path, git_url):
    "What one can do with a notebook: (what, where to, what a screen reader says)."
    where, file = repository(git_url), f"nbs/{path}.ipynb"
    return {
        "Colab": f"{COLAB}/{where}/blob/main/{file}",
        "Binder": f"{BINDER}/{where}/main?labpath={quote(file, safe='')}",
        "Edit": f"{git_url}/edit/main/{file}",
    }


class Pages:
    "Gives each page its context."

    def __init__(self, app):
        self.app, self.course = app, Course(ROOT / "nbs")
        self.order = [lesson.path for lesson in self.course.lessons]
        self.names = {lesson.path: lesson.name for lesson in self.course.lessons}

    def link(self, page, other):
        "A neighbour, as the theme's template wants it."
        uri = self.app.builder.get_target_uri
        return {"link": relative_uri(uri(page), uri(other)), "title": self.names[other]}

    def neighbours(self, page):
        "The lessons before and after a lesson."
        if page not in self.names:
            return None, None
        k = self.order.index(page)
        around = self.order[k - 1] if k else None, (self.order + [None])[k + 1]
        return tuple(other and self.link(page, other) for other in around)

    def parents(self, page):
        "The way to a page: the part of a lesson, the reference of a module."
        uri = self.app.builder.get_target_uri
        ways = {"api/": ("api/index", "Reference"), "answers/": ("answers/index", "Worked answers")}
        if part := self.course.part_of(page):
            ways = {page: (part.page, part.name)}
        for start, (to, title) in ways.items():
            if page.startswith(start) and page != to:
                return [{"link": relative_uri(uri(page), uri(to)), "title": title}]
        return []

    def context(self, app, page, template, context, doctree):
        "Called for each page before it is written."
        before, after = self.neighbours(page)
        part = self.course.part_of(page)
        context |= {"prev": before, "next": after, "parents": self.parents(page)}
        context |= {"course_parts": self.course.parts, "here": part}
        context["part_page"] = part.page if part else page
        if page in self.course.books:
            context["notebook_links"] = notebook_links(page, context["git_url"])
        if page.endswith("_zh"):
            context["language"] = "zh"
        card = f"{page}.png" if (app.srcdir / "cards" / f"{page}.png").is_file() else "index.png"
        context["card"] = f"{app.config.html_baseurl}cards/{card}"
        context["about"] = about(doctree) or context["description"]


def about(doctree):
    "The first sentence of a page: its subtitle, or its first paragraph."
    if doctree is None:
        return ""
    from docutils import nodes
    first = next(iter(doctree.findall(nodes.paragraph)), None)
    return re.sub(r"\s+", " ", first.astext())[:200] if first else ""


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("builder-inited", connect)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def connect(app):
    app.connect("html-page-context", Pages(app).context, priority=900)
