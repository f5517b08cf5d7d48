"""Learn supervised fine-tuning by running it."""
__version__ = "0.1.0"

# Written by hand: the export changes the line above and no other. `import sft_nb` must not wait for
# torch,
# so the names of `sft_nb.all` are found when somebody asks for one.


def _names():
    "Name -> the module that gives it, read from the text of `all.py` without importing anything."
    import ast
    from pathlib import Path
    tree = ast.parse(Path(__file__).with_name("all.py").read_text(encoding="utf-8"))
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    ]
    return dict.fromkeys(ast.literal_eval(lists[0]), "sft_nb.all") | {"quiet": "sft_nb.telling"}


def __getattr__(name):
    if not name.startswith("_") and name in (names := _names()):
        import importlib
        return getattr(importlib.import_module(names[name]), name)
    raise AttributeError(f"module 'sft_nb' has no attribute {name!r}")


def __dir__(): return sorted({*globals(), *_names()})
