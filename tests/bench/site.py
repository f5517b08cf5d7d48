"""The site: pages, bytes, processor seconds of its build, and the slowest page on a phone.

Writes results/site.json.

python tests/bench/site.py [--heaviest 12] [--keep FOLDER]

The phone: a screen of 390 × 844, slow 4G (150 ms, 1.6 Mbit/s down, 0.75 Mbit/s up), a processor
that is four times slower, and an empty cache. Text goes out compressed (gzip), as hosts of static
pages send it. It opens the front page, and the heaviest pages by the bytes of the page with its
pictures.
"""
import gzip
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from series import RESULTS, command_line, machine, save

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from browsers import Silent, open_browser, served

from tools.site import ROOT
from tools.site.check import Page, remote

OUT = RESULTS / "site.json"
PHONE = {"width": 390, "height": 844}
SLOW_4G = {
    "offline": False, "latency": 150,
    "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 0.75e6 / 8,
}
TEXT = "text/", "image/svg", "application/json"
TIMES = """() => {
    const [page] = performance.getEntriesByType("navigation");
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    const { domContentLoadedEventEnd: ready, loadEventEnd: whole } = page;
    return { seen: paint.startTime, ready, whole };
}"""


def build(folder):
    "Processor seconds of a build in one process."
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "tools.site", "--out", folder], cwd=ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def weight(page):
    "Bytes of a page with its pictures."
    links = Page(page.read_text(encoding="utf-8")).fetched
    near = {page.parent / link.partition("?")[0] for link in links if not remote(link)}
    pictures = [file for file in near if "_images" in file.parts and file.is_file()]
    return page.stat().st_size + sum(file.stat().st_size for file in pictures)


class Compressing(Silent):
    "Serves a folder; what is text, compressed."
    def do_GET(self):
        file = Path(self.translate_path(self.path))
        kind = self.guess_type(file)
        if not file.is_file() or not kind.startswith(TEXT): return super().do_GET()
        body = gzip.compress(file.read_bytes())
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return self.wfile.write(body)


def on_a_phone(browser, url):
    "Seconds until something is seen, until the page is there, until its pictures are."
    context = browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True)
    tab = context.new_page()
    session = context.new_cdp_session(tab)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", SLOW_4G)
    session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    tab.goto(url, timeout=300_000)
    tab.wait_for_function("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
    times = {name: round(ms / 1000, 1) for name, ms in tab.evaluate(TIMES).items()}
    context.close()
    return times


def phone(folder, heaviest):
    "The heaviest pages and the front page, slowest first."
    weights = {page: weight(page) for page in folder.rglob("*.html")}
    pages = sorted(weights, key=weights.get, reverse=True)[:heaviest]
    found = []
    with served(folder, Compressing) as address, open_browser() as browser:
        for page in [folder / "index.html", *pages]:
            name = page.relative_to(folder).as_posix()
            times = on_a_phone(browser, f"{address}/{name}")
            found.append({"page": name, "bytes": weights[page], "seconds": times})
    return sorted(found, key=lambda one: -one["seconds"]["whole"])


def main(heaviest, keep):
    with tempfile.TemporaryDirectory() as temporary:
        folder = (keep or Path(temporary) / "site").resolve()
        seconds = build(folder)
        pages = list(folder.rglob("*.html"))
        largest = max(pages, key=lambda page: page.stat().st_size)
        save({
            "machine": machine(),
            "build": {"processor_seconds": round(seconds), "processes": 1},
            "pages": len(pages),
            "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
            "bytes_of_notebooks": sum(f.stat().st_size for f in folder.rglob("*.ipynb")),
            "bytes_of_search_index": (folder / "searchindex.js").stat().st_size,
            "largest_page": {
                "page": largest.relative_to(folder).as_posix(), "bytes": largest.stat().st_size,
            },
            "phone": phone(folder, heaviest),
        }, OUT)


if __name__ == "__main__":
    parser = command_line(__doc__)
    parser.add_argument("--heaviest", type=int, default=12, help="pages to open on the phone")
    parser.add_argument("--keep", type=Path, help="build it here, and leave it")
    main(**vars(parser.parse_args()))
