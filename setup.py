"""Everything about the package is in settings.ini; this file only hands it to setuptools."""
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]

PORTIONS = ("tagging", "detection", "writing", "lora", "certify", "export")  # of the package itself
OTHERS = ("dev", "site", "course")


def wanted(name):
    return cfg[f"{name}_requirements"].split()




class WithResults(build_py):
    "What screens replay stands in results/widgets; an installed package has copies of its own."
    def copies(self):
        "File -> its copy."
        place = Path(self.build_lib) / "sft_nb" / "widgets" / "stored"
        files = () if self.editable_mode else (here / "results" / "widgets").glob("*.json")
        return {file: place / file.name for file in files}

    def run(self):
        super().run()
        for file, copy in self.copies().items():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)

    def get_outputs(self, include_bytecode=True):
        "What an uninstallation takes away: a folder left behind would hide the next installation."
        return [*super().get_outputs(include_bytecode), *map(str, self.copies().values())]


extras = {name: wanted(name) for name in (*PORTIONS, *OTHERS)}
extras["all"] = [requirement for name in PORTIONS for requirement in wanted(name)]
extras["dev"] += extras["all"] + extras["site"]

setup(
    name=cfg["lib_name"], version=cfg["version"], description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    keywords=cfg["keywords"],
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha", "Intended Audience :: Education",
        "Programming Language :: Python :: 3",
    ],
    cmdclass={"build_py": WithResults},
    packages=find_packages(include=["sft_nb", "sft_nb.*"]),
    package_data={"sft_nb": ["*.toml", "py.typed"]},
    include_package_data=True,
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"],
        "sft_nb.tasks": cfg["task_entry_points"].split(),
        "sft_nb.methods": cfg["method_entry_points"].split(),
    },
    zip_safe=False,
)
