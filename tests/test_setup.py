"""What is installed is known to the installer, so that it can be taken away again."""
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

BUILD = """
import sys
from pathlib import Path
from distutils.core import run_setup
place = Path(sys.argv[1])
command = run_setup("setup.py", stop_after="init").get_command_obj("build_py")
command.build_lib = str(place)
command.ensure_finalized()
command.run()
known = {Path(path) for path in command.get_outputs(include_bytecode=False)}
made = {path for path in place.rglob("*") if path.is_file()}
assert any("stored" in path.parts for path in made)
for path in sorted(made - known):
    print("not known:", path)
"""


def test_every_file_that_is_built_is_known(tmp_path):
    "A file that no uninstallation removes leaves a folder that hides an editable installation."
    code = "import setuptools\n" + BUILD
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, tmp_path / "lib"], cwd=ROOT, text=True,
        capture_output=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "copying" in run.stdout and "not known" not in run.stdout
