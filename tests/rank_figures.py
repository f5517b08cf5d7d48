"""Launched by test_shards.py: what a tuner says of rows, on however many ranks.

rank_figures.py OUT CHECKPOINT: stops early, evaluates, predicts, certifies, saves, loads again.
"""
import json
import os
import sys
from pathlib import Path

from rank_run import RECIPE, ROWS, TASK, rows

from sft_nb.all import FineTuner
from sft_nb.batches.ranks import one_voice
from sft_nb.batches.shards import held

EARLY = RECIPE.but(epochs=12, patience=1, learning_rate=3e-3, keep_best=True)


def new_rows():
    "Rows that the run has not seen."
    return ROWS.assign(text=[f"again {t}" for t in ROWS.text])


def told(tuner):
    "Everything that must not depend on the number of ranks."
    judged, said = tuner.evaluate(ROWS), tuner.predict(list(ROWS.text))
    return {
        "epochs": [len(tuner.history.epochs), tuner.kept_epoch],
        "metrics": judged.metrics, "loss": judged.loss,
        "answers": [p.value for p in said], "scores": [p.score for p in said],
    }


def figures(out, checkpoint):
    "The figures of a run that stops early, and of the same run read back."
    tuner = FineTuner(TASK, str(checkpoint), EARLY).fit(rows(), ROWS)
    found = told(tuner)
    proof = tuner.certify(new_rows(), "accuracy >= 0.05", ledger=out / "ledger.json")
    proof.save(out / "proof.json")
    first = proof.body["findings"][0]
    found["proof"] = [proof.verdict, first["observed"], first["bound"], proof.body["ledger"]["k"]]
    again = FineTuner.load(tuner.save(out / "run"))
    found["again"] = told(again)
    found["held"] = [type(held(t.model)).__name__ for t in (tuner, again)]
    return found


if __name__ == "__main__":
    out, checkpoint = map(Path, sys.argv[1:])
    os.environ["SFT_NB_HOME"] = str(out / "home")
    found = figures(out, checkpoint)
    with one_voice():
        print("figures", json.dumps(found))
