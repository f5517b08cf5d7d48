"""How long from `pip install` to a widget that moves? In a fresh environment, step by step.

Writes results/first_widget.json.

python tests/bench/first_widget.py [--repeats 3] [--constraints constraints.txt]

    install   an environment, and `pip install . jupyterlab` into it; what pip fetches comes from
              the index that pip is set to, so this hangs on the line
    start     `jupyter lab`, until it answers
    open      a notebook of one cell, until it can be typed into
    seen      the cell runs, until the screen asks its question: a kernel that has just started
              imports the package
    moved     an answer, a key on the first slider, until the sentence is another one
"""
import os
import subprocess
import sys
import tempfile
import time
import venv
from contextlib import contextmanager
from pathlib import Path

import nbformat
from series import RESULTS, command_line, machine, save, stored

sys.path.insert(0, str(Path(__file__).parents[1]))
from browsers import open_browser
from test_browser import WHOLE, free_port, quiet_settings, until_it_answers

ROOT = Path(__file__).parents[2]
OUT = RESULTS / "first_widget.json"
CELL = "from sft_nb.widgets.threshold import explore_threshold\nexplore_threshold()"
HANDLE = ".widget-hslider .noUi-handle"
OTHER = "old => [...document.querySelectorAll('[role=alert]')].at(-1)?.innerText != old"


class Clock:
    "Seconds of every step, by the wall clock."
    def __init__(self): self.steps, self.last = {}, time.monotonic()

    def ends(self, step):
        now = time.monotonic()
        self.steps[step], self.last = round(now - self.last, 1), now


def installed(folder, constraints):
    "The Python of a new environment with the package and JupyterLab in it."
    venv.create(folder, with_pip=True)
    python = next(p for p in (folder / "bin" / "python", folder / "Scripts" / "python.exe")
                  if p.exists())
    limits = ["-c", constraints] if constraints else []
    subprocess.run([python, "-m", "pip", "install", "-q", *limits, ROOT, "jupyterlab"], check=True)
    return python


@contextmanager
def lab(python, home):
    "The address of a JupyterLab over a folder with one notebook."
    notebooks = home / "notebooks"
    notebooks.mkdir()
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(CELL)], metadata={"kernelspec": kernel})
    nbformat.write(nb, notebooks / "first.ipynb")
    quiet_settings(home)
    owned = {f"JUPYTER_{name}": str(home / name) for name in ("CONFIG_DIR", "RUNTIME_DIR")}
    owned |= {f"JUPYTERLAB_{name}_DIR": str(home / name.lower())
              for name in ("SETTINGS", "WORKSPACES")}
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MPLBACKEND")}
    port = free_port()
    command = [python, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
               "--IdentityProvider.token=", f"--ServerApp.root_dir={notebooks}",
               "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]
    with open(home / "log", "w") as log:
        process = subprocess.Popen(command, env=clean | owned, stdout=log, stderr=log, cwd=home)
        try:
            until_it_answers(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def moves(page, address, clock):
    page.set_default_timeout(400_000)
    page.goto(f"{address}/lab/tree/first.ipynb?reset")
    page.wait_for_function(
        "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel != null")
    clock.ends("open")
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    guess, handle = page.locator(".widget-radio-box input"), page.locator(HANDLE)
    guess.first.wait_for()
    clock.ends("seen")
    guess.first.focus()
    page.keyboard.press("Space")
    handle.first.wait_for()
    before = page.locator("[role=alert]").last.inner_text()
    handle.first.focus()
    page.keyboard.press("Home")
    page.wait_for_function(OTHER, arg=before)
    clock.ends("moved")


def once(constraints):
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        home = Path(folder)
        python = installed(home / "venv", constraints)
        clock.ends("install")
        with lab(python, home) as address:
            clock.ends("start")
            moves(browser.new_page(viewport=WHOLE), address, clock)
    return clock.steps | {"whole": round(sum(clock.steps.values()), 1)}


def main():
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--constraints", default=str(ROOT / "constraints.txt"))
    options = parser.parse_args()
    file = stored(OUT, {"runs": []})
    runs = file["runs"]
    while len(runs) < options.repeats:
        runs.append({"machine": machine(), "seconds": once(options.constraints)})
        save(file, OUT)
        print(runs[-1]["seconds"], flush=True)


if __name__ == "__main__":
    main()
