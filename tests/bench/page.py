"""What the page that fine-tunes rests on. Writes results/page.json.

python tests/bench/page.py --work FOLDER [--steps models,strengths,bounds] [--draws 1000]

models      the network in three forms: how near to the original, how good a head on eight rows of
            each class, and how far apart are ONNX Runtime for Python and for browsers (needs node)
strengths   how good and how sure a head is, by the strength of its pull towards zero
bounds      how often the bound on left-out answers is above the accuracy on all other rows
"""
import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
from series import RESULTS, command_line, listed, machine, save, stored

from sft_nb.assets import get
from sft_nb.chance import rng_for
from sft_nb.data.asset_tables import load_data
from sft_nb.methods.export import in_int8
from sft_nb.models.loading import load
from sft_nb.widgets.page import (
    fit_head, left_out, network, pieces_of, probabilities, proven_share, vectors,
)

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.web import runtime

OUT = RESULTS / "page.json"
ROWS, EACH = 2000, 8
TABLES = {"film snippets": "rotten-tomatoes", "text messages": "sms-spam"}
BROWSER = 100  # snippets that are also read by ONNX Runtime for browsers
NAMES = "input_ids", "attention_mask", "token_type_ids"
SCRIPT = """
const [folder, model, lines, out] = process.argv.slice(2);
const fs = await import("fs");
const ort = await import(`${folder}/ort.wasm.bundle.min.mjs`);
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmBinary = fs.readFileSync(`${folder}/ort-wasm-simd-threaded.wasm`);
const session = await ort.InferenceSession.create(fs.readFileSync(model));
const found = [];
for (const ids of JSON.parse(fs.readFileSync(lines))) {
  const row = (x) => new ort.Tensor("int64", BigInt64Array.from(x, BigInt), [1, x.length]);
  const states = await session.run({ input_ids: row(ids),
    attention_mask: row(ids.map(() => 1)), token_type_ids: row(ids.map(() => 0)) });
  found.push(Array.from(states[session.outputNames[0]].data));
}
fs.writeFileSync(out, JSON.stringify(found));
"""


@cache
def rows(data):
    "Texts and classes of 2,000 rows."
    table = load_data(TABLES[data]).sample(ROWS, random_state=0)
    labels = table.label.astype(str)
    return table.text.tolist(), np.unique(labels, return_inverse=True)[1]


def kept(path, make):
    "An array that is made once."
    if not path.exists(): np.save(path, make())
    return np.load(path)


def as_vector(states):
    mean = np.mean(states, axis=0, dtype=float)
    return mean / np.linalg.norm(mean)


class Body(torch.nn.Module):
    "Tensors in a fixed order to last states."
    def __init__(self):
        super().__init__()
        self.body = load("minilm")[0].base_model.eval()

    def forward(self, *tensors):
        return self.body(**dict(zip(NAMES, tensors, strict=True))).last_hidden_state


def original(texts):
    body, found = Body(), []
    with torch.no_grad():
        for read in pieces_of(texts):
            ids = torch.tensor([read.ids])
            found.append(as_vector(body(ids, ids * 0 + 1, ids * 0)[0].numpy()))
    return np.stack(found)


def own_export(path):
    "Our export in 8 bits, written to a file."
    ids, sizes = torch.ones(2, 7, dtype=torch.long), {0: "rows", 1: "tokens"}
    program = torch.onnx.export(
        Body().eval(), (ids, ids.clone(), ids * 0), dynamo=True, verbose=False, opset_version=20,
        input_names=list(NAMES), output_names=["last_hidden_state"],
        dynamic_shapes=((sizes,) * 3,))
    path.write_bytes(in_int8(program.model_proto.SerializeToString()))


def session_of(path):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def in_browser(path, texts, work):
    "The vectors of ONNX Runtime for browsers, run by node."
    script, lines, out = work / "run.mjs", work / "ids.json", work / "states.json"
    script.write_text(SCRIPT)
    lines.write_text(json.dumps([read.ids for read in pieces_of(texts)]))
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        shutil.copy(runtime() / name, work / name)
    subprocess.run(["node", script, work, path, lines, out], check=True)
    return np.stack([as_vector(np.reshape(x, (-1, 384))) for x in json.loads(out.read_text())])


def drawn(classes, draw):
    "Eight rows of each class, and all others."
    rng = rng_for("page rows", draw)
    picked = np.concatenate([rng.choice(np.flatnonzero(classes == c), EACH, replace=False)
                             for c in range(max(classes) + 1)])
    return picked, np.setdiff1d(np.arange(len(classes)), picked)


def balanced(right, classes):
    "Accuracy if the classes were equally frequent."
    return np.mean([right[classes == c].mean() for c in range(max(classes) + 1)])


def judged(x, classes, draw, strength=.3):
    "Accuracy on all other rows, and how sure the head is of them."
    train, rest = drawn(classes, draw)
    p = probabilities(fit_head(x[train], classes[train], strength), x[rest])
    right = p.argmax(1) == classes[rest]
    return balanced(right, classes[rest]), balanced(p.max(1), classes[rest])


def models(work):
    texts, classes = rows("film snippets")
    exact = kept(work / "exact.npy", lambda: original(texts))
    if not (work / "own.onnx").exists(): own_export(work / "own.onnx")
    files = {"minilm-int8": get("minilm-int8") / "model.onnx", "our export": work / "own.onnx"}
    size = (get("minilm") / "model.safetensors").stat().st_size
    found = [about("original", exact, exact, classes) | {"megabytes": round(size / 1e6, 1)}]
    for name, path in files.items():
        x = kept(work / f"{name}.npy", lambda path=path: vectors(texts, session_of(path)))
        differ = np.abs(in_browser(path, texts[:BROWSER], work) - x[:BROWSER]).max()
        found.append(about(name, x, exact, classes) | {
            "megabytes": round(path.stat().st_size / 1e6, 1), "builds differ by": float(differ)})
    return found


def about(name, x, exact, classes):
    cosines = (x * exact).sum(1)
    found = [judged(x, classes, draw)[0] for draw in range(10)]
    return {"model": name, "mean cosine": cosines.mean(), "lowest cosine": cosines.min(),
            "accuracy": np.mean(found), "spread": np.std(found, ddof=1), "accuracies": found}


def table_of(data, work):
    texts, classes = rows(data)
    name = "minilm-int8" if data == "film snippets" else data
    return kept(work / f"{name}.npy", lambda: vectors(texts, network())), classes


def strengths(work):
    found = []
    for data in TABLES:
        x, classes = table_of(data, work)
        for strength in (.03, .1, .3, 1., 3.):
            of = np.array([judged(x, classes, draw, strength) for draw in range(100)])
            accuracy, sure = of.mean(0)
            found.append({"data": data, "strength": strength, "accuracy": accuracy, "sure": sure})
    return found


def bound(right):
    return proven_share(int(right.sum()), len(right))


def left_out_of(x):
    "draws 2·EACH: which left-out answers are right; the rows of a draw class by class."
    classes = np.repeat([0, 1], EACH)
    right = np.zeros(x.shape[:2], dtype=bool)
    for i in range(EACH):
        out = np.array([i, EACH + i])
        rest = np.setdiff1d(np.arange(2 * EACH), out)
        heads = fit_head(x[:, rest], classes[rest])
        right[:, out] = probabilities(heads, x[:, out]).argmax(-1) == classes[out]
    assert ((left_out(x[0], classes).argmax(1) == classes) == right[0]).all()
    return right


def bounds(work, draws):
    found = []
    for data in TABLES:
        x, classes = table_of(data, work)
        right = left_out_of(np.stack([x[drawn(classes, draw)[0]] for draw in range(draws)]))
        true = np.array([judged(x, classes, draw)[0] for draw in range(draws)])
        proven = np.array([bound(some) for some in right])
        found.append({"data": data, "draws": draws, "left out": right.mean(),
                      "true": true.mean(), "proven": proven.mean(),
                      "failed": np.mean(true < proven)})
    return found


def main():
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=listed, default=["models", "strengths", "bounds"])
    parser.add_argument("--draws", type=int, default=1000)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    work = args.work.resolve()
    steps = {"models": lambda: models(work), "strengths": lambda: strengths(work),
             "bounds": lambda: bounds(work, args.draws)}
    file = stored(OUT, {})
    for step in args.steps:
        file[step] = steps[step]()
        save(file | {"machine": machine()}, OUT)
        print(json.dumps(file[step], indent=1), flush=True)


if __name__ == "__main__":
    main()
