"""A model that is served: smaller, quicker, and as good? Writes results/export.json.

python tests/bench/export.py --work FOLDER [--steps judge,certify,time,power] [--rounds 6]

The claim, fixed before any of the certify rows was answered: the accuracy of the chosen form, four
layers distilled from the original and then in 8 bits, is not lower than the original's by more than
0.01, on 6,000 snippets of rotten-tomatoes that neither run has seen, at confidence 0.95. The other
forms are reported beside it. The rows are split one by one, so the unit is the snippet: the claim
is about further snippets about these films. With the film as unit, an exact bound would seldom show
0.01 (step `power`); the films of the same rows serve as groups in a second, approximate interval.

Every form is timed end to end, from texts to answers, in one process on one thread, in alternation;
in processor seconds, for the machine may have other work.
"""
import time
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from series import RESULTS, Spent, command_line, has, listed, machine, save, stored

from sft_nb.certification.claims import examine
from sft_nb.certification.comparison import compare
from sft_nb.certification.roles import Certify, judge
from sft_nb.certification.units import risk_bound
from sft_nb.data.splitting import split
from sft_nb.models.loading import save_weights
from sft_nb.tasks.text.classification import TextClassification, film_reviews
from sft_nb.training.recipe import Method, Recipe
from sft_nb.training.seen import seen_rows
from sft_nb.training.tuner import FineTuner

OUT = RESULTS / "export.json"
CLAIM = "accuracy >= original - 0.01"
LABELLED, VALID, CERTIFY = 4000, 800, 6000  # rows
TEMPERATURE = 2.0  # of the teacher's answers
FILMS = "movie"
FORMS = {  # name -> run, form; None: as torch runs it
    "original": ("original", None),
    "onnx": ("original", "onnx"),
    "int8": ("original", "onnx-int8"),
    "4 layers": ("4", None),
    "4 layers, int8": ("4", "onnx-int8"),
    "4 layers distilled": ("4-taught", None),
    "4 layers distilled, int8": ("4-taught", "onnx-int8"),
}
CHOSEN = "4 layers distilled, int8"
TEXTS = 256  # a round of the stop-watch: four batches of 64


def rows_by_role():
    "Labelled rows, rows without label for the teacher to answer, valid, certify; the films apart."
    task = TextClassification()
    everything = task.read(film_reviews())
    columns = [*task.inputs(), *task.targets(), FILMS]
    parts = split(everything[columns], valid_size=VALID, certify_size=CERTIFY, seed=42)
    films = parts.certify.pop(FILMS)
    rest = parts.train.drop(columns=FILMS)
    valid = parts.valid.drop(columns=FILMS)
    return task, rest[:LABELLED], rest, valid, parts.certify, films


@cache
def unseen(work):
    "The certify rows, and their films, without those that read like a row of another role."
    _, _, rest, valid, certify, films = rows_by_role()
    original = run_of(work, "original")
    seen = partial(seen_rows, original.task, processor=original.processor)
    known = {h for rows in (rest, valid) for h in (*seen(rows).questions, *seen(rows).as_read)}
    asked = seen(certify)
    pairs = zip(asked.questions, asked.as_read, strict=True)
    kept = np.array([known.isdisjoint(pair) for pair in pairs])
    return certify[kept].reset_index(drop=True), films[kept].tolist()


# --- students: to be replaced by the package's own methods of this kind ---

@dataclass(frozen=True)
class Taught(Method):
    "The loss is how far the answers are from a teacher's; labels do not count."
    temperature: float = TEMPERATURE
    answers = None  # n c: the teacher's logits for the training rows

    def objective(self, inner, task):
        def softly(logits): return (logits.float() / self.temperature).log_softmax(-1)
        def taught(model, batch):
            sums, outputs = inner(model, batch)
            right, said = softly(self.answers[batch.index]), softly(outputs.logits)
            apart = (right.exp() * (right - said)).sum()
            return {"loss": self.temperature**2 * apart}, outputs
        return taught


def with_fewer_layers(tuner, layers, folder):
    "The checkpoint that is left of a model without its top layers."
    if not folder.is_dir():
        folder.mkdir(parents=True)
        model = FineTuner.load(tuner.folder).model
        body = model.base_model.encoder
        body.layer = body.layer[:layers]
        model.config.num_hidden_layers = layers
        save_weights(model, tuner.processor, folder)
    return str(folder)


def logits_of(tuner, rows):
    "n c, in the order of the rows."
    probs = [list(a.probs.values()) for a in tuner.predict(rows.text.tolist())]
    return torch.tensor(probs, dtype=torch.float64).log().float()


def fitted(folder, make, train, valid):
    "The run in this folder; made if it is not there."
    if (folder / "sft_nb.json").exists(): return FineTuner.load(folder)
    spent, tuner = Spent(), make()
    tuner.fit(train, valid)
    tuner.save(folder)
    print(folder.name, spent.to_dict(), tuner.history.epochs[-1], flush=True)
    return FineTuner.load(folder)


def trained(work, name):
    "A run by its name; made once."
    task, labelled, rest, valid, *_ = rows_by_role()
    if name == "original":
        recipe = Recipe(epochs=3)
        return fitted(work / name, partial(FineTuner, task, "minilm", recipe), labelled, valid)
    original = trained(work, "original")
    start = with_fewer_layers(original, int(name[0]), work / f"start-{name[0]}")
    recipe, rows = Recipe(epochs=3), labelled
    if name.endswith("taught") and not (work / name / "sft_nb.json").exists():
        method, rows = Taught(), rest  # their labels do not count
        object.__setattr__(method, "answers", logits_of(original, rest))
        recipe = Recipe(epochs=4, learning_rate=1.5e-4, keep_best=False, methods=(method,))
    return fitted(work / name, partial(FineTuner, task, start, recipe), rows, valid)


# --- forms ---

def run_of(work, name):
    "A run in its form; made once."
    run, form = FORMS[name]
    tuner = trained(work, run)
    if form is None: return tuner
    folder = work / f"{run}-{form}"
    if (folder / "sft_nb.json").exists(): return FineTuner.load(folder, device="cpu")
    return tuner.export(folder, form)


def megabytes(tuner):
    "Of the network's file."
    files = [f for kind in ("*.safetensors", "*.onnx") for f in tuner.folder.glob(kind)]
    return round(sum(f.stat().st_size for f in files) / 1e6, 2)


def judged(work, name):
    "A form on the certify rows, beside the original's scores."
    certify, films = unseen(work)
    found = judge(run_of(work, name), certify, Certify)
    kept = work / "original-scores.npy"
    if name == "original": np.save(kept, found.scores)
    theirs = np.load(kept)
    row = {"form": name, "accuracy": float(found.scores.mean()), "n": len(found.scores),
           "megabytes": megabytes(run_of(work, name))}
    if name == "original": return row
    part, = examine(CLAIM, found, others={"original": theirs})
    by_rows, by_films = (compare(found.scores, theirs, g) for g in (None, films))
    return row | {
        "difference": by_rows.value, "rows": [by_rows.low, by_rows.high],
        "films": [by_films.low, by_films.high], "n_films": by_films.units,
        "differ": float((found.scores != theirs).mean()),
        "bound": part.alone, "holds": part.holds, "method": part.method}


def certified(work):
    "The certificate of the chosen form, as anybody would ask for it."
    certify, _ = unseen(work)
    original, chosen = run_of(work, "original"), run_of(work, CHOSEN)
    found = chosen.certify(
        certify, CLAIM, baselines={"original": original}, ledger=work / "ledger.json")
    print(found)
    finding = found.body["findings"][0]
    return {"form": CHOSEN, "claim": CLAIM, "verdict": found.verdict, "finding": finding,
            "weights": found.body["fingerprints"]["weights"]}


def timed(work, rounds, forms):
    "Processor seconds of each of these forms in every round."
    torch.set_num_threads(1)
    certify, _ = unseen(work)
    texts = certify.text.tolist()[:TEXTS]
    tuners = {name: run_of(work, name) for name in forms}
    seconds = {name: [] for name in forms}
    for i in range(rounds + 1):
        for name, tuner in tuners.items():
            start = time.process_time()
            tuner.predict(texts, batch_size=64)
            if i: seconds[name].append(round(time.process_time() - start, 3))  # the first warms up
        print({name: s[-1:] for name, s in seconds.items()}, flush=True)
    return {"texts": TEXTS, "rounds": rounds, "seconds": seconds}


def power(draws=60):
    "How often the claim would hold, by unit, share of rows that differ and true difference."
    *_, films = rows_by_role()
    sizes, rng, found = films.value_counts().to_numpy(), np.random.default_rng(0), []
    def drawn(n, differ, gap):
        shares = [1 - differ, (differ + gap) / 2, (differ - gap) / 2]
        return .5 - rng.choice([0, .5, -.5], n, p=shares)
    for unit, differ, gap in [(u, d, g) for u in ("row", FILMS) for d in (.02, .05, .08, .12)
                              for g in (0., -.003)]:
        held = 0
        for _ in range(draws):
            losses = drawn(sizes.sum(), differ, gap)
            if unit == FILMS:
                losses = np.array([x.mean() for x in np.split(losses, sizes.cumsum()[:-1])])
            held += 2 * risk_bound(losses, .05, unit).value - 1 <= .01
        found.append({"unit": unit, "differ": differ, "gap": gap, "power": held / draws})
    return found


def main():
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", default="power,judge,certify,time")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--forms", help="to judge and time, with semicolons between; else all")
    args = parser.parse_args()
    file, steps = stored(OUT, {"claim": CLAIM, "chosen": CHOSEN, "judged": []}), listed(args.steps)
    if "power" in steps and "power" not in file:
        file["power"] = power()
        save(file, OUT)
    forms = args.forms.split(";") if args.forms else list(FORMS)
    for name in forms:
        if "judge" not in steps or has(file["judged"], form=name): continue
        file["judged"].append(judged(args.work, name))
        save(file, OUT)
        print(file["judged"][-1], flush=True)
    if "certify" in steps and "certificate" not in file:
        file["certificate"] = certified(args.work)
        save(file, OUT)
    if "time" in steps and not set(forms) <= set(file.get("timed", {}).get("seconds", ())):
        file["timed"] = timed(args.work, args.rounds, forms) | {"machine": machine()}
        save(file, OUT)


if __name__ == "__main__":
    main()
