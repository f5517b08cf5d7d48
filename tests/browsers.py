"""One way to a browser for every test that needs one.

    from browsers import open_browser, served

    with served(folder) as address, open_browser() as browser:
        page = browser.new_page()
        page.goto(f"{address}/index.html")

SFT_NB_CHROMIUM    the browser to use; otherwise chromium or google-chrome on PATH
SFT_NB_NO_BROWSER  1: these tests are left out here, even where CI is true
"""
import os
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ADVICE = "No Chromium here. Type: apt-get install chromium (or name one in SFT_NB_CHROMIUM)"


def find_browser():
    "The path of a Chromium, or None."
    if named := os.environ.get("SFT_NB_CHROMIUM"):
        return shutil.which(named) or pytest.fail(f"SFT_NB_CHROMIUM names no program: {named}")
    return next(filter(None, map(shutil.which, NAMES)), None)


def need_browser():
    "The path of a Chromium. Without one the test is skipped; where CI is true, it fails."
    if os.environ.get("SFT_NB_NO_BROWSER") == "1":
        pytest.skip("SFT_NB_NO_BROWSER is 1")
    if path := find_browser():
        return path
    if os.environ.get("CI") == "true":
        pytest.fail(ADVICE)
    pytest.skip(ADVICE)


@contextmanager
def open_browser(**settings):
    "A Chromium that Playwright drives; settings are those of Playwright's launch()."
    path = need_browser()
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, **settings)
        try:
            yield browser
        finally:
            browser.close()


class Silent(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm",
    }

    def log_message(self, *_):
        "Nothing: a test's output is for what went wrong."


@contextmanager
def served(folder, handler=Silent):
    "The address of a folder, served on this machine alone: http://127.0.0.1:PORT"
    handler = partial(handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
