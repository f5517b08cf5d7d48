"""How fast is every kind of task, beside the tool that most people use? One run, in turn.

Writes results/all_tasks.json.

python tests/bench/all_tasks.py [--repeats 2] [--only entities,instructions] [--scale 1.0]

Every run is a process of its own on one thread, and the ways of a task take turns. What is timed is
training (or predicting) alone: loading, tokenising and evaluation are outside. The clock is the
processor time of the process. `Trainer` and TRL read the very examples that our task has encoded;
updates, tokens, decayed parameters and dropout must be the same, or the bench stops.

    default   as it comes: batches in random order, float32, AdamW as it is set
    tuned     bfloat16 where the processor has it, similar lengths together, fused AdamW
    loop      the loop of a tutorial, in float32
    ours      FineTuner with the default recipe, this number of epochs and rows a batch

Repeats are compared one by one, since the speed of a shared machine changes within minutes. TRL is
no requirement of this package: pip install trl, or its two ways are left out.
"""
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import mean

from series import RESULTS, command_line, listed, machine, save, stored
from training_speed import Clock, decayed_names, meaning, timed_by

OUT = RESULTS / "all_tasks.json"
RATE, DECAY, WARMUP, SEED = 1e-4, 0.01, 0.1, 0
TASKS = {
    "sentences": ("ours", "loop", "tuned", "default"),
    "entities": ("ours", "loop", "tuned", "default"),
    "pictures": ("ours", "loop", "tuned", "default"),
    "instructions": ("ours", "loop", "tuned", "default"),
    "predictions": ("ours", "pipeline"),
}
ROWS = {
    "sentences": 1000, "entities": 1000, "pictures": 200, "instructions": 64, "predictions": 2000,
}
BATCH = {"sentences": 32, "entities": 32, "pictures": 32, "instructions": 8}
BARS = {  # (of, to): how many times as fast
    "sentences": ("tuned", 1.5), "entities": ("tuned", 1.5), "pictures": ("tuned", 1.5),
    "instructions": ("tuned", 2.0), "predictions": ("pipeline", 2.0),
}


# --- what is trained ---

def sentences(n):
    from sft_nb.tasks.text.classification import TextClassification, film_reviews
    rows = film_reviews().sample(n, random_state=SEED).reset_index(drop=True)
    return TextClassification(), "minilm", rows


def entities(n):
    from sft_nb.tasks.tagging.baselines import tweets
    from sft_nb.tasks.tagging.sequence_labelling import SequenceLabelling
    return SequenceLabelling(), "minilm", tweets().head(n).reset_index(drop=True)


def pictures(n):
    from sft_nb.data.asset_tables import load_data
    from sft_nb.tasks.images.classification import ImageClassification
    rows = load_data("mnist-5k").sample(n, random_state=SEED).reset_index(drop=True)
    return ImageClassification(size=96), "efficientnet-lite0", rows


def instructions(n):
    from sft_nb.tasks.writing.instruction_tuning import InstructionTuning, bundled_instructions
    rows = bundled_instructions(seed=SEED, each=-(-n // 3)).head(n)
    return InstructionTuning(), "smollm2", rows


WORK = {
    "sentences": sentences, "entities": entities, "pictures": pictures,
    "instructions": instructions, "predictions": sentences,
}


def ready(name, n):
    "A run that is about to make its first update: all ways start from its model and examples."
    from sft_nb.training.gradient import pick_device
    from sft_nb.training.recipe import Recipe
    from sft_nb.training.run import Run
    task, checkpoint, rows = WORK[name](n)
    recipe = Recipe(
        epochs=1, learning_rate=RATE, weight_decay=DECAY, warmup=WARMUP, batch_size=BATCH[name],
        keep_best=False, seed=SEED)
    return Run(task, checkpoint, recipe, rows, None, pick_device())


def plain(name, n):
    "Task, model, processor and examples without any of our shortcuts."
    from sft_nb.batches.batching import Examples
    task, checkpoint, rows = WORK[name](n)
    task = task.learn(rows)
    model, processor = task.build(checkpoint, seed=SEED)
    return task, model, Examples(task, rows, processor, seed=SEED)


# --- ways to train ---

def ours(name, n, clock):
    run = ready(name, n).prepared()
    decayed = [n for g in run.optimizer.param_groups if g["weight_decay"] for n in g["names"]]
    found = meaning(run.model, decayed, run.updates, run.examples.lengths.sum())
    clock.start()
    run.go()
    clock.stop()
    return found | {"precision": run.precision, "used": run.quick.used}


def loop(name, n, clock):
    "One epoch, as a tutorial has it."
    import torch
    from sft_nb.models.layers import parameter_groups
    from sft_nb.training.gradient import train_mode
    from sft_nb.training.recipe import rate_factor
    task, model, examples = plain(name, n)
    groups = parameter_groups(model, RATE, DECAY)
    opt = torch.optim.AdamW(groups, foreach=False)
    torch.manual_seed(SEED)
    parts = torch.randperm(len(examples)).split(BATCH[name])
    train_mode(model)
    clock.start()
    for step, part in enumerate(parts):
        for group in groups:
            group["lr"] = RATE * rate_factor(step, len(parts), WARMUP)
        one_step(task, model, examples.batch(part.numpy()), opt)
    clock.stop()
    decayed = [n for g in groups if g["weight_decay"] for n in g["names"]]
    return meaning(model, decayed, len(parts), examples.lengths.sum()) | {"precision": "fp32"}


def one_step(task, model, batch, opt):
    import torch
    mean_of(task, model, batch).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    opt.zero_grad()


def mean_of(task, model, batch):
    "The batch's mean loss, as everybody computes it."
    weights = task.weigh(batch)
    sums = task.loss(model(**batch.inputs), batch)
    return sum(s / weights[k] for k, s in sums.items())


def with_trainer(tuned):
    "The transformers Trainer; the task's own collate and loss, so that the meaning is the same."
    def work(name, n, clock):
        from transformers import Trainer, set_seed
        task, model, examples = plain(name, n)
        tokens = []

        class Same(Trainer):
            def compute_loss(self, model, inputs, **_):
                batch = inputs["batch"]
                tokens.append(int(examples.lengths[batch.index.numpy()].sum()))
                return mean_of(task, model, batch)

        def together(picked): return {"batch": examples.batch([p["at"] for p in picked])}

        rows = Positions(examples.lengths)
        with tempfile.TemporaryDirectory() as folder:
            set_seed(SEED)
            trainer = Same(
                model, arguments(folder, name, tuned), train_dataset=rows, data_collator=together,
                callbacks=[timed_by(clock)])
            trainer.train()
        decayed = decayed_names(model, trainer.optimizer)
        found = meaning(model, decayed, trainer.state.global_step, sum(tokens))
        return found | {"precision": "bf16" if trainer.args.bf16 else "fp32"}
    return work


class Positions(list):
    "The rows by number; `Trainer` looks at their ids to see how long they are."
    def __init__(self, lengths): super().__init__({"input_ids": range(n)} for n in lengths)

    def __getitem__(self, i): return super().__getitem__(i) | {"at": i}


def arguments(folder, name, tuned, kind=None, **more):
    from sft_nb.training.gradient import pick_device, pick_precision
    from transformers import TrainingArguments
    how = {"optim": "adamw_torch_fused", "train_sampling_strategy": "group_by_length"}
    bf16 = tuned and pick_precision("auto", pick_device()) == "bf16"
    return (kind or TrainingArguments)(
        folder, per_device_train_batch_size=BATCH[name], num_train_epochs=1, learning_rate=RATE,
        weight_decay=DECAY, warmup_steps=0, save_strategy="no", report_to="none", bf16=bf16,
        disable_tqdm=True, logging_strategy="no", seed=SEED, use_cpu=True,
        remove_unused_columns=False, **(how if tuned else {}), **more)


def with_trl(tuned):
    "TRL's SFTTrainer on the same questions and answers; loss on the answers alone."
    def work(name, n, clock):
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer
        task, model, examples = plain(name, n)
        rows = [{"input_ids": e["input_ids"], "labels": asked(e)} for e in examples.plain]
        with tempfile.TemporaryDirectory() as folder:
            config = arguments(
                folder, name, tuned, SFTConfig, max_length=None, gradient_checkpointing=False,
                completion_only_loss=True, dataset_kwargs={"skip_prepare_dataset": True})
            trainer = SFTTrainer(
                model, config, train_dataset=Dataset.from_list(rows),
                processing_class=examples.processor.tokenizer, callbacks=[timed_by(clock)])
            trainer.train()
        decayed = decayed_names(model, trainer.optimizer)
        found = meaning(model, decayed, trainer.state.global_step, examples.lengths.sum())
        return found | {"precision": "bf16" if trainer.args.bf16 else "fp32"}
    return work


def asked(example):
    "Our labels stand where the next token is predicted, TRL's at that token."
    return [-100, *example["labels"][:-1]]


# --- ways to predict ---

def predicts(name, n, clock):
    from sft_nb.evaluation.judging import predict
    task, model, examples = plain("sentences", n)
    clock.start()
    found = predict(task, model.eval(), examples.processor, examples.rows)
    clock.stop()
    return {"rows": len(found)}


def pipes(name, n, clock):
    from transformers import pipeline
    _, model, examples = plain("sentences", n)
    pipe = pipeline("text-classification", model=model, tokenizer=examples.processor, device="cpu")
    clock.start()
    found = pipe(examples.rows.text.tolist(), batch_size=64)
    clock.stop()
    return {"rows": len(found)}


def way_of(name, way):
    if name == "predictions": return {"ours": predicts, "pipeline": pipes}[way]
    if way in ("ours", "loop"): return {"ours": ours, "loop": loop}[way]
    return (with_trl if name == "instructions" else with_trainer)(way == "tuned")


# --- a process for each ---

def one(name, way, n):
    "Do one thing and print its figures as the last line."
    import torch
    torch.set_num_threads(1)
    clock = Clock()
    found = way_of(name, way)(name, n, clock)
    print(json.dumps({"task": name, "way": way, "seconds": round(clock.cpu, 2)} | found))


def in_a_process(name, way, n):
    words = [sys.executable, __file__, "--one", name, way, str(n)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


SAME = ("updates", "tokens", "decayed", "dropout", "rows")


def must_mean_the_same(runs):
    "Stop where two ways have done different work."
    first, *others = runs
    for run in others:
        differs = [k for k in SAME if run.get(k) != first.get(k)]
        if differs:
            raise SystemExit(f"{first['way']} and {run['way']} differ in {', '.join(differs)}.")


def summary(runs):
    "For every task: mean seconds of each way, and how many times as fast we are, with its range."
    table = {}
    for name, (other, bar) in BARS.items():
        ways = {}
        for r in (r for r in runs if r["task"] == name):
            ways.setdefault(r["way"], {})[r["repeat"]] = r["seconds"]
        if not ways: continue
        mine, seconds = ways["ours"], {w: round(mean(s.values()), 1) for w, s in ways.items()}
        times = {w: spread([s[k] / mine[k] for k in s]) for w, s in ways.items() if w != "ours"}
        table[name] = {"seconds": seconds, "times as fast": times, "bar": [other, bar]}
    return table


def spread(ratios):
    "Of repeats, each taken in turn: the mean, the lowest and the highest."
    return [round(v, 2) for v in (mean(ratios), min(ratios), max(ratios))]


def main():
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", type=listed, default=list(TASKS))
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of rows")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--one", nargs=3, metavar=("TASK", "WAY", "ROWS"))
    args = parser.parse_args()
    if args.one: return one(*args.one[:2], int(args.one[2]))
    file = stored(args.out, {"runs": []})
    for repeat in range(args.repeats):
        for name in args.only:
            series(file, args, name, repeat)
    file["summary"] = summary(file["runs"])
    save(file, args.out)
    print(json.dumps(file["summary"], indent=1))


def series(file, args, name, repeat):
    "All ways of a task once, in turn, there and back; what is stored is skipped."
    n, order = int(ROWS[name] * args.scale), -1 if repeat % 2 else 1
    known = [r for r in file["runs"] if r["task"] == name and r["repeat"] == repeat]
    for way in TASKS[name][::order]:
        if name == "instructions" and way in ("tuned", "default") and not find_spec("trl"): continue
        if any(r["way"] == way for r in known): continue
        run = in_a_process(name, way, n) | {"repeat": repeat, "n": n, "machine": machine()}
        must_mean_the_same([*known, run])
        known.append(run)
        file["runs"].append(run)
        save(file, args.out)
        print(f"{name} {way}: {run['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
