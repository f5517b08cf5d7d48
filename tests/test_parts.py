"""A table in many files is the table: the same rows, split, weights, and the same way to go on."""
import pandas as pd
import pytest
import torch

from sft_nb.all import FineTuner, Recipe, TextClassification, split
from sft_nb.data.table_reader import read_table
from sft_nb.task import DataError
from sft_nb.training.watching import Listener

RECIPE = Recipe(epochs=2, learning_rate=1e-3, batch_size=4, precision="fp32")


@pytest.fixture(scope="module")
def films(reviews, tmp_path_factory):
    "24 rows, in one file and in four parts of unequal size: (file, folder)."
    place = tmp_path_factory.mktemp("films")
    rows = pd.concat([reviews.assign(text=reviews.text + f" {i}") for i in range(3)])
    rows = rows.reset_index(drop=True)
    rows.to_parquet(place / "all.parquet")
    folder = place / "parts"
    folder.mkdir()
    ends = [0, 5, 6, 17, 24]
    for i, (a, b) in enumerate(zip(ends, ends[1:], strict=False)):
        rows[a:b].to_parquet(folder / f"part-{i:02}.parquet")
    return place / "all.parquet", folder


def bits(tuner): return {k: v.clone() for k, v in tuner.model.state_dict().items()}


def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_rows_and_their_split(films):
    one, folder = (TextClassification().read(source) for source in films)
    pd.testing.assert_frame_equal(one, folder)
    pd.testing.assert_frame_equal(one, read_table(str(films[1] / "part-*.parquet")))
    parts = [split(rows, valid_size=6, certify_size=3, seed=5) for rows in (one, folder)]
    for role in ("train", "valid", "certify"):
        pd.testing.assert_frame_equal(parts[0].roles[role], parts[1].roles[role])


class StopAt(Listener):
    "Asks a run to stop after so many updates."
    def __init__(self, step): self.at = step
    def step(self, run): run.interrupted = run.interrupted or run.position.step == self.at


def test_a_run_is_the_same_to_the_bit_and_goes_on(tiny, films, tmp_path):
    task = TextClassification()
    whole = FineTuner(task, tiny("bert"), RECIPE).fit(task.read(films[0]))
    parts = FineTuner(task, tiny("bert"), RECIPE).fit(task.read(films[1]))
    assert same(bits(whole), bits(parts))
    again = FineTuner(task, tiny("bert"), RECIPE, out=tmp_path)
    again.fit(task.read(films[1]), listeners=[StopAt(4)])
    assert again.interrupted and again.position.step == 4
    again.fit(task.read(films[1]), resume="auto")
    assert again.position.step == 12 and same(bits(whole), bits(again))


def test_another_part_is_another_run(tiny, films, tmp_path):
    folder = tmp_path / "more"
    folder.mkdir()
    for part in films[1].iterdir():
        (folder / part.name).write_bytes(part.read_bytes())
    task = TextClassification()
    tuner = FineTuner(task, tiny("bert"), RECIPE, out=tmp_path / "run")
    tuner.fit(task.read(folder), listeners=[StopAt(2)])
    (folder / "part-04.parquet").write_bytes((folder / "part-00.parquet").read_bytes())
    with pytest.raises(Exception, match="training or validation rows"):
        tuner.fit(task.read(folder), resume="auto")


def test_what_is_no_table_in_parts(films, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\na,b\n")
    (tmp_path / "part-0.parquet").write_bytes((films[1] / "part-00.parquet").read_bytes())
    with pytest.raises(DataError, match="is a folder. Give one file of it"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="Parquet has no delimiter"):
        read_table(films[1], delimiter=";")
    with pytest.raises(DataError, match="There is no file"):
        read_table(tmp_path / "none-*.parquet")


def test_the_command_line_takes_a_folder(sft, tiny, films, tmp_path):
    out, _ = sft("fine-tune", films[1], "--task", "text-classification", "--model", tiny("bert"),
                 "--out", tmp_path / "run", "--epochs", 1, "--certify-size", 0)
    assert "19 rows to learn from; 5 to choose the epoch with" in out
