"""Sphinx's settings. The sources are staged by tools/site, see __main__.py."""
from tools.site import SETTINGS

project = SETTINGS["title"]
author = SETTINGS["author"]
copyright = SETTINGS["copyright"]
version = release = SETTINGS["version"]
language = "en"

extensions = ["myst_nb", "tools.site.extension"]
root_doc = "index"
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = [("versions.js", {"defer": "defer"})]

nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_merge_streams = True
nb_code_prompt_show = "Show the {type}"
nb_code_prompt_hide = "Hide the {type}"
nb_ipywidgets_js = {}  # nothing is fetched from elsewhere
suppress_warnings = ["misc.highlighting_failure"]  # "…" in code stands for what is left out
myst_enable_extensions = ["dollarmath", "attrs_block", "fieldlist", "colon_fence"]
myst_heading_anchors = 6
myst_heading_slug_func = "tools.site.stage.slug"
myst_ref_domains = ["std", "py"]  # where a link may lead; the others are searched in vain
myst_update_mathjax = False
html_math_renderer = "mathml"
add_module_names = False
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_title = project
html_baseurl = f"{SETTINGS['doc_host']}{SETTINGS['doc_baseurl']}/"
html_copy_source = False
html_show_sourcelink = False
html_domain_indices = False
html_sidebars = {"**": ["course.html"], "search": [], "genindex": []}
html_theme_options = {
    "navbar_center": ["sections.html"],
    "navbar_end": ["versions.html", "theme-switcher"],
    "article_header_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["licence.html"],
    "show_toc_level": 2,
    "search_bar_text": "Search the course",
    "templates_skip_empty_check": ["course.html", "sections.html"],
}
html_context = {
    "default_mode": "auto",
    "git_url": SETTINGS["git_url"],
    "description": SETTINGS["description"],
}
