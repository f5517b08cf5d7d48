"""Every public function and method says what it does and what each parameter means."""
import importlib
import inspect
import pkgutil

import pytest
from fastcore.docments import docments

import sft_nb

MODULES = [
    m.name
    for m in pkgutil.walk_packages(sft_nb.__path__, "sft_nb.")
    if not m.name.split(".")[-1].startswith("_") and m.name not in ("sft_nb.all",)
]


def public(module):
    "Functions of a module, and the methods of its classes, that are defined in this package."
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if getattr(thing, "__module__", "") != module.__name__: continue
        if inspect.isfunction(thing): yield name, thing
        if inspect.isclass(thing):
            yield name, thing
            for method, f in vars(thing).items():
                f = getattr(f, "fget", None) or getattr(f, "__func__", f)
                if (
                    not method.startswith("_")
                    and inspect.isfunction(f)
                    and f.__module__.startswith("sft_nb")
                ):
                    yield f"{name}.{method}", f


def overrides(name, module):
    "Does a method answer a question that a class above it asks and documents?"
    cls, _, method = name.partition(".")
    return bool(method) and any(
        method in vars(base) for base in inspect.getmro(getattr(module, cls))[1:-1]
    )


def lacking(name, thing):
    "What a reader would miss."
    if not (thing.__doc__ or "").strip() or (
        inspect.isclass(thing) and thing.__doc__.startswith(f"{name}(")
    ):
        yield "docstring"
    if inspect.isclass(thing): return
    said = docments(thing)
    parameters = [
        p
        for p in inspect.signature(thing).parameters.values()
        if p.name not in ("self", "cls") and p.kind is not p.VAR_KEYWORD
    ]
    # a command's option
    helped = {
        p.name
        for p in parameters
        if getattr(p.annotation, "__metadata__", None) and p.annotation.__metadata__[0].help
    }
    yield from (
        p.name
        for p in parameters
        if not said.get(p.name) and p.name not in helped and not p.name.startswith("_")
    )


@pytest.mark.parametrize("module", MODULES)
def test_docments(module):
    module = importlib.import_module(module)
    missing = {
        name: what
        for name, thing in public(module)
        if not overrides(name, module) and (what := list(lacking(name, thing)))
    }
    assert not missing, "\n".join(f"{n}: {', '.join(w)}" for n, w in missing.items())
