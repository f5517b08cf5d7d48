"""Learn supervised fine-tuning by running it."""
__version__ = "0.1.0"

# Written by hand: the export changes the line above and no other. `import sft_nb` must not wait for
# torch, so the names of `sft_nb.all` are found when somebody asks for one.


def _names():
    "Name -> the module that gives it: the imports of `all.py`, read and not run."
    import ast
    from pathlib import Path
    tree = ast.parse(Path(__file__).with_name("all.py").read_text(encoding="utf-8"))
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    ours = (node for node in imports if node.module != "typing")
    found = {"quiet": "sft_nb.telling"}
    for node in ours:
        module = f"sft_nb.{node.module}" if node.level else node.module
        found |= {alias.name: module for alias in node.names}
    return found


def __getattr__(name):
    if not name.startswith("_") and name in (names := _names()):
        import importlib
        return getattr(importlib.import_module(names[name]), name)
    raise AttributeError(f"module 'sft_nb' has no attribute {name!r}")


def __dir__(): return sorted({*globals(), *_names()})
