"""The command line answers at once, and everything that can be set has an option."""
import inspect
import json
import os
import subprocess
import sys
from dataclasses import fields, replace

import pytest
from sft_nb.commands import fine_tuning
from sft_nb.commands.cli import COMMANDS, GROUPS, PANEL_OF, further_options, make_app
from sft_nb.commands.declared import settings
from sft_nb.commands.recipes import method_settings, prefix, recipe_settings
from sft_nb.entry_points import METHODS, TASKS, own_points
from sft_nb.methods.lora import Lora
from sft_nb.methods.rates import SlowBody
from sft_nb.task import SFTError
from sft_nb.training.recipe import RECIPES, Recipe

HEAVY = {"torch", "transformers", "numpy", "pandas", "sklearn", "scipy", "matplotlib", "accelerate"}
LOADED = """
import sys
from sft_nb.commands.cli import main
try:
    main(sys.argv[1:])
except SystemExit as e:
    code = e.code
print("LOADED", code, *{name.partition(".")[0] for name in sys.modules})
"""
TUNE = ["fine-tune", "a.csv", "--task", "text-classification", "--out", "x"]


def loaded(*argv, **environment):
    "(exit code, heavy libraries that were imported) of a command in a fresh process."
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *argv],
        capture_output=True, text=True, env=os.environ | environment)
    *_, last = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    _, code, *modules = last.split()
    return code, HEAVY & set(modules)


@pytest.mark.parametrize("argv", [
    ["--version"], ["--help"], ["fine-tune", "--help"], ["evaluate", "--help"],
    ["predict", "--help"], ["certify", "--help"], ["verify", "--help"], ["chat", "--help"],
    ["promise", "--help"], ["promise", "--task", "text-classification", "--help"],
    ["export", "--help"], ["export-certificate", "--help"], ["sign", "--help"],
    ["demo", "--help"], ["assets", "--help"], ["assets", "get", "--help"], ["recipe", "--help"],
    ["recipe", "show", "--help"],
    *(["fine-tune", "--task", point.name, "--help"] for point in own_points(TASKS)),
    ["fine-tune", "--method", "lora", "--method", "r-drop", "--help"],
], ids=" ".join)
def test_help_imports_nothing_heavy(argv):
    assert loaded(*argv) == ("0", set())


@pytest.mark.parametrize("argv", [
    ["fine-tune", "a.csv"], [*TUNE, "--epochs", "three"], [*TUNE, "--lr", "3"],
    [*TUNE, "--lora-rank", "3"], ["evaluate", "run"], ["nothing"],
], ids=" ".join)
def test_a_mistake_in_the_words_is_told_before_anything_is_imported(argv):
    assert loaded(*argv) == ("2", set())


# --- options -------------------------------------------------------------------------------------

def shown(sft, *argv):
    out, _ = sft(*argv, "--help")
    return out


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")


def flag(name): return "--" + name.rstrip("_").replace("_", "-")


def test_every_field_of_a_recipe_has_an_option(sft, wide):
    told = shown(sft, "fine-tune")
    asked = [f.name for f in fields(Recipe) if f.name != "methods"]
    assert len(asked) == len(fields(Recipe)) - 1
    assert not [name for name in asked if flag(name) not in told]


@pytest.mark.parametrize("method", [point.name for point in own_points(METHODS)])
def test_every_setting_of_a_method_has_an_option(method, sft, wide):
    told = shown(sft, "fine-tune", "--method", method)
    own = method_settings(method)
    assert own or method == "bias-only"  # which has nothing to set
    for setting in own:
        assert flag(prefix(method) + setting.name) in told
        for words in setting.comment[:40].replace("`", "").split("None"):
            assert words in told  # the terminal has its own word for None


def test_help_shows_groups_defaults_and_an_example(sft, wide):
    told = shown(sft, "fine-tune", "--task", "text-classification")
    for heading in ("Data", "Model", "Recipe", "Output", "Columns and settings of text-class"):
        assert f"─ {heading}" in told
    assert "[default: linear]" in told and "[default: 0.1]" in told
    assert "Example: sft-nb fine-tune reviews.csv --task text-classification" in told


def test_every_own_option_of_fine_tune_stands_in_a_group():
    own = [s for s in settings("sft_nb.commands.fine_tuning:fine_tune") if s.named]
    assert own and {s.name for s in own} <= PANEL_OF.keys()


def test_no_two_options_have_one_name():
    own = {p for p in inspect.signature(fine_tuning.fine_tune).parameters}
    recipe = {s.name for s in recipe_settings()}
    assert not own & recipe
    for point in own_points(TASKS):
        columns = {s.name for s in settings(point.value)}
        assert columns and not columns & (own | recipe), point.name


def test_commands_exist():
    every = [*COMMANDS.values(), *(v for _, group in GROUPS.values() for v in group.values())]
    for value in every:
        for setting in settings(f"sft_nb.commands.{value}"):
            assert setting.comment, f"{value}: {setting.name} says nothing"


def test_words_choose_the_options():
    names = {p.name for p in further_options(["--task", "text-regression", "--method=lora"])}
    assert {"number", "lora_rank", "warmup"} <= names
    with pytest.raises(SFTError, match="Did you mean lora?"):
        make_app(["fine-tune", "--method", "lorra"])


# --- what arrives --------------------------------------------------------------------------------

@pytest.fixture
def planned(sft, tmp_path, monkeypatch):
    "planned(*words): the recipe that a run would have had, or what was said instead of it."
    def run(*words, code=2):
        seen = []

        def stop(out, resume, overwrite, plan=None):
            raise SFTError("far enough")

        def made(recipe, wanted, methods):
            seen.append(real(recipe, wanted, methods))
            return seen[0]
        monkeypatch.setattr(fine_tuning, "_planned", made)
        monkeypatch.setattr(fine_tuning, "_ended", stop)
        _, err = sft(*TUNE, *map(str, words), code=code)
        return seen[0] if seen else err
    real = fine_tuning._planned
    return run


OTHER = {
    "epochs": 7, "updates": 40, "learning_rate": 3e-4, "batch_size": 5, "micro_batch_size": 2,
    "warmup": 0.2, "schedule": "cosine", "weight_decay": 0.3, "max_grad_norm": 0.7,
    "depth_decay": 0.8, "unfreeze_last": 2, "fresh": True, "dropout": 0.25, "patience": 3,
    "keep_best": False, "precision": "fp32", "gradient_checkpointing": True, "length_window": 4,
    "packing": True, "train_batchnorm": True, "seed": 9,
}


def test_every_option_arrives(planned):
    assert OTHER.keys() == {s.name for s in recipe_settings()}
    words = []
    for name, value in OTHER.items():
        if value is True: words += [flag(name)]
        elif value is False: words += [flag(f"no_{name}")]
        else: words += [flag(name), value]
    assert planned(*words) == Recipe(**OTHER)


def test_nothing_typed_is_the_default(planned):
    assert planned() == Recipe()
    for name, recipe in RECIPES.items():
        assert planned("--recipe", name) == recipe
    assert planned("--recipe", "article", "--epochs", 5) == RECIPES["article"].but(epochs=5)


def test_none_is_a_choice_where_it_is_not_the_default(planned):
    assert planned("--max-grad-norm", "none") == Recipe(max_grad_norm=None)
    assert planned("--max-grad-norm", "2.5") == Recipe(max_grad_norm=2.5)
    assert "--max-grad-norm" in planned("--max-grad-norm", "much")


def test_methods_by_name(planned):
    assert planned("--method", "lora", "--lora-rank", 4).methods == (Lora(rank=4),)
    both = planned("--method", "slow-body", "--no-slow-body-words", "--method", "r-drop").methods
    assert [type(m).__name__ for m in both] == ["SlowBody", "RDrop"]
    assert both[0] == SlowBody(words=False)


def test_a_recipe_from_a_file(planned, sft, tmp_path):
    file = tmp_path / "mine.toml"
    text, _ = sft("recipe", "show", "article", "--method", "lora")
    file.write_text(text.replace("rank = 8", "rank = 2"))
    expected = replace(RECIPES["article"], methods=(Lora(rank=2),))
    assert planned("--recipe", file) == expected
    assert planned("--recipe", file, "--epochs", 9) == expected.but(epochs=9)
    typed = planned("--recipe", file, "--method", "lora", "--lora-rank", 4)
    assert typed.methods == (Lora(rank=4),)  # what is typed replaces what the file says
    shown, _ = sft("recipe", "show", file)
    assert "rank = 2" in shown and "epochs = 3" in shown


@pytest.mark.parametrize("text, words", [
    ("epoch = 3", ["mine.toml", "no setting 'epoch'", "Did you mean epochs?"]),
    ("epochs = 'three'", ["epochs='three'"]),
    ("epochs = 0", ["epochs=0", "at least 1"]),
    ("[method.lora]", ["no setting 'method'", "Did you mean"]),
    ("[methods.dora]", ["mine.toml", "No method is called 'dora'", "Did you mean lora?"]),
    ("[methods.lora]\nrang = 2", ["The method lora has no setting 'rang'", "Did you mean rank?"]),
    ("[methods.lora]\nrank = 'two'", ["mine.toml: The method lora: rank='two'"]),
    ("methods = 'lora'", ["tables of their own", "[methods.lora]"]),
    ("epochs = 3\nepochs = 4", ["mine.toml is not TOML"]),
    ("x" * 9, ["mine.toml is not TOML"]),
    ("\x00", ["mine.toml is not TOML"]),
], ids=str)
def test_a_wrong_file_is_a_sentence(text, words, planned, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    said = planned("--recipe", file)
    assert said.startswith("error: ") and not [w for w in words if w not in said], said


@pytest.mark.parametrize("words, said", [
    (["--recipe", "nowhere.toml"], "There is no file nowhere.toml"),
    (["--recipe", "defualt"], "No recipe is called 'defualt'. Known: default, article, stable"),
    (["--method", "lorra"], "No method is called 'lorra'. Did you mean lora?"),
    (["--lora-rank", 3], "--lora-rank needs --method lora"),
    (["--r-drop-alpha", 3], "--r-drop-alpha needs --method r-drop"),
    (["--epoch", 3], "--epochs"),
    (["--warm-up", 3], "--warmup"),
])
def test_what_is_unknown_names_the_nearest(words, said, planned):
    assert said in planned(*words)


def test_a_size_that_splits_nothing_is_refused(sft, tmp_path):
    rows = tmp_path / "a.csv"
    rows.write_text("text,label\n" + "good,a\nbad,b\n" * 9)
    tune = "fine-tune", rows, "--task", "text-classification", "--out", tmp_path / "run"
    for role in ("valid", "certify"):
        _, err = sft(*tune, f"--{role}", rows, f"--{role}-size", ".2", code=2)
        assert f"--{role}-size has no effect beside --{role}" in err


# --- completion ----------------------------------------------------------------------------------

def completed(*words, shell="bash"):
    line = " ".join(["sft-nb", *words])
    asks = {"COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    if shell != "bash":
        asks = {"_TYPER_COMPLETE_ARGS": line}
    if shell == "fish":
        asks["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    done = subprocess.run(
        [sys.executable, "-c", "from sft_nb.commands.cli import main; main([])"],
        capture_output=True, text=True,
        env=os.environ | asks | {"_SFT_NB_COMPLETE": f"complete_{shell}"})
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("words, expected", [
    (["fi"], ["fine-tune"]),
    (["fine-tune", "--epo"], ["--epochs"]),
    (["fine-tune", "--task", "text-c"], ["text-classification"]),
    (["fine-tune", "--task", "text-regression", "--num"], ["--number"]),
    (["fine-tune", "--method", "lo"], ["lora"]),
    (["fine-tune", "--method", "lora", "--lora-r"], ["--lora-rank"]),
    (["fine-tune", "--recipe", "a"], ["article"]),
    (["fine-tune", "--recipe", "s"], ["stable"]),
    (["assets", "ve"], ["verify"]),
    (["fine-tune", "--task", "no-such-task", "--epo"], ["--epochs"]),
])
def test_a_shell_completes(words, expected):
    assert completed(*words).split() == expected


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete_too(shell):
    assert "--epochs" in completed("fine-tune", "--epo", shell=shell)


def test_the_recipe_is_told_as_json(sft):
    text, _ = sft("recipe", "show")
    assert "schedule = " + json.dumps("linear") in text


def test_all_names_are_there_and_none_is_imported_before_it_is_asked_for():
    code = ("import sys, sft_nb.all; before = set(sys.modules); from sft_nb.all import *; "
            "print('torch' in before, len(sft_nb.all.__all__), FineTuner.__module__)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    torch_before, names, module = done.stdout.split()
    assert torch_before == "False" and int(names) > 40 and module == "sft_nb.training.tuner"
