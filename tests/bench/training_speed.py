"""How fast is the loop? Six ways to train the same thing, in one run and in turn.

Writes results/training_speed.json.

python tests/bench/training_speed.py [--repeats 5] [--rows 2000] [--ways trainer_default,padded,…]
python tests/bench/training_speed.py --profile
python tests/bench/training_speed.py --accuracy [--seeds 5]

--profile: where the time of a step goes, and what each shortcut is worth.
--accuracy: is anything lost?

Every run is a process of its own, so that the peak of its memory is its own. What is in the file is
skipped: a series survives being cut off. Loading, tokenising and a first look at the data are
outside the timed part; evaluation is off. On one CPU thread the clock is the process's CPU time,
which is what a wall clock shows when nobody else works on the machine; otherwise it is the wall
clock. Another kind of machine adds an entry of its own.
"""
import argparse
import contextlib
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from series import RESULTS, command_line, has, machine, save, stored

OUT = RESULTS / "training_speed.json"
WAYS = ("trainer_default", "trainer_tuned", "padded", "bare", "sft_nb")
TARGETS = {"trainer_default": 4.0, "padded": 12.0, "trainer_tuned": 1.2}
LEARNING_RATE, DECAY, WARMUP = 1e-4, 0.01, 0.1


# what is trained

def checkpoint_of(name):
    """A checkpoint that `load` knows; `bert-base` is one of that size with random weights, made
    on the spot.
    """
    if name != "bert-base": return name
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification
    from sft_nb.models.loading import quiet, resolve
    folder = Path(tempfile.gettempdir()) / "bert-base-random"
    if not (folder / "config.json").exists():
        import torch
        torch.manual_seed(0)
        with quiet():
            AutoTokenizer.from_pretrained(resolve("minilm")[0]).save_pretrained(folder)
            BertForSequenceClassification(BertConfig()).save_pretrained(folder)
    return str(folder)


def rows_of(args):
    "Film reviews; with --length, joined and cut so that each has exactly so many tokens."
    from sft_nb.tasks.text.classification import film_reviews
    rows = film_reviews().sample(args.rows, random_state=0).reset_index(drop=True)
    if args.length:
        def joined(i): return " ".join(rows.text.sample(args.length // 4, random_state=i))
        rows["text"] = [joined(i) for i in range(len(rows))]
    return rows


def task_of(args, rows):
    from sft_nb.tasks.text.classification import TextClassification
    return TextClassification(max_length=args.length).learn(rows)


# one way, in a process of its own

class Clock:
    "Wall and CPU seconds between start and stop."
    def start(self): self.wall, self.cpu = time.perf_counter(), time.process_time()
    def stop(self):
        import torch
        if torch.cuda.is_available(): torch.cuda.synchronize()
        self.wall, self.cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu


def meaning(model, decayed, updates, tokens):
    "What must be the same in all ways."
    from torch import nn
    rates = {n: m.p for n, m in model.named_modules() if isinstance(m, nn.Dropout)}
    return {
        "updates": updates,
        "tokens": int(tokens),
        "decayed": hashlib.sha256(" ".join(sorted(decayed)).encode()).hexdigest()[:12],
        "dropout": sorted(set(rates.values())),
        "dropouts": len(rates),
    }


def as_trainer_reads(encoded, whole):
    "Examples for the Trainer; `whole`: all padded to 128 tokens."
    for e in encoded:
        ids = e["input_ids"]
        pads = [0] * (128 - len(ids)) if whole else []
        yield {
            "input_ids": ids + pads, "attention_mask": [1] * len(ids) + pads,
            "labels": e["classes"][0],
        }


class CountingCollator:
    "Pads a batch, and counts real tokens and cells."
    def __init__(self, tokenizer):
        from transformers import DataCollatorWithPadding
        self.pads, self.tokens, self.cells = DataCollatorWithPadding(tokenizer), 0, 0

    def __call__(self, examples):
        batch = self.pads(examples)
        self.tokens += batch["attention_mask"].sum().item()
        self.cells += batch["attention_mask"].numel()
        return batch


def timed_by(clock):
    "A callback that starts and stops the clock."
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def on_train_begin(self, *_, **__): clock.start()
        def on_train_end(self, *_, **__): clock.stop()

    return Watch()


def trainer_arguments(args, way, device, updates, folder):
    from transformers import TrainingArguments
    from sft_nb.training.gradient import pick_precision
    tuned = {}
    if way == "trainer_tuned":
        tuned = {
            "bf16": pick_precision("auto", device) == "bf16",
            "train_sampling_strategy": "group_by_length",
            "optim": "adamw_torch_fused",
        }
    return TrainingArguments(
        folder, per_device_train_batch_size=args.batch, num_train_epochs=args.epochs,
        learning_rate=LEARNING_RATE, weight_decay=DECAY, warmup_steps=int(WARMUP * updates),
        save_strategy="no", report_to="none", disable_tqdm=True, logging_strategy="no",
        seed=args.seed, use_cpu=device.type == "cpu", **tuned,
    )


def decayed_names(model, optimizer):
    names = {id(p): n for n, p in model.named_parameters()}
    groups = [g["params"] for g in optimizer.param_groups if g["weight_decay"]]
    return [names[id(p)] for group in groups for p in group]


def with_trainer(args, way, clock, rows, task, evaluate=None):
    from transformers import Trainer, set_seed
    from sft_nb.training.gradient import pick_device
    model, tokenizer = task.build(checkpoint_of(args.checkpoint), seed=args.seed)
    encoded = task.encode_all(rows, tokenizer)
    texts, collate = list(as_trainer_reads(encoded, way == "padded")), CountingCollator(tokenizer)
    updates = -(-len(texts) // args.batch) * args.epochs
    with tempfile.TemporaryDirectory() as folder:
        arguments = trainer_arguments(args, way, pick_device(), updates, folder)
        set_seed(args.seed)
        trainer = Trainer(
            model, arguments, train_dataset=texts, data_collator=collate,
            processing_class=tokenizer, callbacks=[timed_by(clock)],
        )
        trainer.train()
    decayed = decayed_names(model, trainer.optimizer)
    found = meaning(model, decayed, trainer.state.global_step, collate.tokens)
    found |= {"cells": collate.cells, "precision": "bf16" if arguments.bf16 else "fp32"}
    if evaluate: found["accuracy"] = evaluate(model, tokenizer)
    return found


def step_by_hand(model, opt, batch, rate):
    "One update, as a tutorial has it."
    import torch
    for g in opt.param_groups:
        g["lr"] = rate
    logits = model(**batch.inputs).logits
    loss = torch.nn.functional.cross_entropy(logits, batch.targets["classes"])
    opt.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()


def with_bare_loop(args, way, clock, rows, task, evaluate=None):
    import torch
    from sft_nb.models.layers import parameter_groups
    from sft_nb.training.gradient import pick_device
    from sft_nb.training.recipe import rate_factor
    device = pick_device()
    model, tokenizer = task.build(checkpoint_of(args.checkpoint), seed=args.seed)
    examples = task.encode_all(rows, tokenizer)
    model.to(device).train()
    torch.manual_seed(args.seed)
    groups = parameter_groups(model, LEARNING_RATE, DECAY)
    opt = torch.optim.AdamW(groups, foreach=False)
    updates = -(-len(examples) // args.batch) * args.epochs
    tokens, cells, step = 0, 0, 0
    clock.start()
    for _ in range(args.epochs):
        for part in torch.randperm(len(examples)).split(args.batch):
            batch = task.collate([examples[i] for i in part], tokenizer).to(device)
            step_by_hand(model, opt, batch, LEARNING_RATE * rate_factor(step, updates, WARMUP))
            step += 1
            tokens += batch.inputs["attention_mask"].sum().item()
            cells += batch.inputs["attention_mask"].numel()
    clock.stop()
    decayed = [n for g in groups if g["weight_decay"] for n in g["names"]]
    return meaning(model, decayed, step, tokens) | {"cells": cells, "precision": "fp32"}


def our_run(args, way, task, rows):
    """A run with chosen shortcuts.

    `sft_nb` has them all, `sft_nb:dice+rows` these alone, `sft_nb:` none.
    """
    from sft_nb.training.gradient import pick_device
    from sft_nb.training.recipe import Recipe
    from sft_nb.training.run import Run
    from sft_nb.speed.quicken import SHORTCUTS
    shortcuts = tuple(SHORTCUTS) if way == "sft_nb" else tuple(way.partition(":")[2].split("+"))
    recipe = Recipe(
        epochs=args.epochs, learning_rate=LEARNING_RATE, weight_decay=DECAY, warmup=WARMUP,
        batch_size=args.batch, keep_best=False, seed=args.seed,
    )
    return Run(task, checkpoint_of(args.checkpoint), recipe, rows, None, pick_device(), shortcuts)


def with_sft_nb(args, way, clock, rows, task, evaluate=None):
    from sft_nb.training.gradient import pick_precision
    run = our_run(args, way, task, rows).prepared()
    lengths = run.examples.lengths
    decayed = [n for g in run.optimizer.param_groups if g["weight_decay"] for n in g["names"]]
    found = meaning(run.model, decayed, run.updates, lengths.sum() * args.epochs)
    clock.start()
    with contextlib.redirect_stdout(sys.stderr):
        run.go()
    clock.stop()
    cells = 0
    for epoch in range(args.epochs):
        batches = run.examples.batches(args.batch, epoch=epoch, window=run.plan.length_window)
        cells += sum(len(b) * int(lengths[b].max()) for b in batches)
    found |= {
        "cells": cells,
        "precision": pick_precision("auto", run.device),
        "used": run.quick.used,
    }
    if evaluate: found["accuracy"] = evaluate(run.model, run.processor)
    return found


def products_of(args):
    "(weights, inputs, gradients) of the matrix products of one block, in training's precision."
    import torch
    from sft_nb.models.layers import blocks
    from sft_nb.training.gradient import pick_device, pick_precision
    device, rows = pick_device(), rows_of(args)
    task = task_of(args, rows)
    dtype = torch.bfloat16 if pick_precision("auto", device) == "bf16" else torch.float32
    model, tokenizer = task.build(checkpoint_of(args.checkpoint))
    tokens = sum(len(e["input_ids"]) for e in task.encode_all(rows, tokenizer))
    m = args.batch * tokens // len(rows)

    def random(columns): return torch.randn(m, columns, device=device, dtype=dtype)

    weights = [p.detach() for p in blocks(model)[1][0].parameters() if p.ndim == 2]
    return [(w.to(device, dtype), random(w.shape[1]), random(w.shape[0])) for w in weights]


def synchronised_clock(device):
    "A clock that first waits until the device has done its work."
    import torch
    if device.type == "cuda":
        def now():
            torch.cuda.synchronize()
            return time.perf_counter()
        return now
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def peak(args, tries=12):
    """GFLOP/s of the matrix products of one block, forward and backward, when nothing else is
    computed: the best, and the median.
    """
    cases = products_of(args)
    now, m = synchronised_clock(cases[0][0].device), len(cases[0][1])
    work = sum(6 * m * w.numel() for w, _, _ in cases) / 1e9
    rates = []
    for _ in range(tries + 2):
        start = now()
        for w, x, g in cases:
            x @ w.t()
            g @ w
            g.t() @ x
        rates.append(work / (now() - start))
    return {"best": max(rates[2:]), "median": statistics.median(rates[2:]), "m": m}


def one(args, way):
    "Do one thing and print its figures as the last line."
    name, _, rest = way.partition(" ")
    if name in MEASUREMENTS:
        found = MEASUREMENTS[name](args, *rest.split())
    else:
        found = train_one(args, way)
    print(json.dumps(found))


def peak_memory():
    "Bytes."
    import torch
    if torch.cuda.is_available(): return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def train_one(args, way):
    "Train in one way: what it did, and how long it took."
    from sft_nb.evaluation.judging import evaluate
    from sft_nb.speed.measuring import training_flops
    rows, valid = parts_of(args) if args.accuracy else (rows_of(args), None)
    clock, task = Clock(), task_of(args, rows)

    def judge(model, processor):
        device = next(model.parameters()).device
        return evaluate(task, model, processor, valid, device=device).metrics["accuracy"]

    work = {"bare": with_bare_loop, "sft_nb": with_sft_nb}.get(way.split(":")[0], with_trainer)
    found = work(args, way, clock, rows, task, judge if args.accuracy else None)
    model, tokenizer = task.build(checkpoint_of(args.checkpoint))
    lengths = [len(e["input_ids"]) for e in task.encode_all(rows, tokenizer)]
    read = training_flops(model, lengths, first_only=True)
    return found | {
        "wall_seconds": clock.wall,
        "cpu_seconds": clock.cpu,
        "gflop": training_flops(model, lengths) * args.epochs / 1e9,
        "gflop_read": read * args.epochs / 1e9,
        "memory_mb": peak_memory() / 2**20,
    }


# where the time goes

KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "dice": ("aten::bernoulli_", "dice", "aten::random_"),
    "activation (GELU)": ("aten::gelu", "aten::gelu_backward"),
    "softmax and norms": (
        "aten::_softmax", "aten::_softmax_backward_data", "aten::native_layer_norm",
        "aten::native_layer_norm_backward", "aten::_safe_softmax",
    ),
    "optimiser": (
        "aten::_fused_adamw_", "aten::linalg_vector_norm", "Optimizer.step#AdamW.step",
        "aten::_foreach_norm",
    ),
    "copies and fills": (
        "aten::copy_", "aten::fill_", "aten::index_select", "aten::index_copy_",
        "aten::embedding_dense_backward", "aten::cat",
    ),
}


def profile(args, way, updates=10):
    "Shares of the time of a step, by kind of work."
    from torch.profiler import ProfilerActivity, profile as profiler, record_function
    import torch
    from sft_nb.speed import dropout
    from sft_nb.training.gradient import train_mode
    rows = rows_of(args)
    task = task_of(args, rows)
    dice = dropout.keep_mask

    def named(*a):
        with record_function("dice"):
            return dice(*a)

    dropout.keep_mask = named
    run = our_run(args, way, task, rows).prepared()
    train_mode(run.model)
    batches = run.examples.batches(args.batch, epoch=0)
    for b in batches[:2]:
        run.update(b)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    with profiler(activities=activities) as p:
        for b in batches[2 : 2 + updates]:
            run.update(b)
    spent = {e.key: e.self_cpu_time_total for e in p.key_averages()}
    total = sum(spent.values())
    shares = {kind: sum(spent.get(k, 0) for k in keys) / total for kind, keys in KINDS.items()}
    return shares | {"everything else": 1 - sum(shares.values())}


def shortcuts(args, updates=20):
    """What each shortcut adds: medians of the ratios to none.

    The same updates with more and more of them, in turn on every batch.
    """
    import random
    from sft_nb.training.gradient import train_mode
    rows = rows_of(args)
    task = task_of(args, rows)
    names = ("dice", "rows", "tokens", "first")
    some = ["+".join(names[:i]) for i in range(5)]
    runs = {way or "none": our_run(args, f"sft_nb:{way}", task, rows).prepared() for way in some}
    for run in runs.values():
        train_mode(run.model)
    spent = {name: [] for name in runs}
    for i, batch in enumerate(runs["none"].examples.batches(args.batch, epoch=0)[:updates + 1]):
        for name in random.sample(list(runs), len(runs)):
            clock = Clock()
            clock.start()
            runs[name].update(batch)
            clock.stop()
            if i: spent[name].append(clock.cpu if args.clock == "cpu" else clock.wall)

    def gain(name):
        return statistics.median(a / b for a, b in zip(spent["none"], spent[name], strict=True))

    return {name: gain(name) for name in spent}


def median_batch(args):
    "The model, and the attention mask of the batch with the median number of tokens."
    from sft_nb.batches.batching import Examples
    rows = rows_of(args)
    task = task_of(args, rows)
    model, tokenizer = task.build(checkpoint_of(args.checkpoint))
    examples = Examples(task, rows, tokenizer, seed=args.seed)
    batches = examples.batches(args.batch, epoch=0)
    batches = sorted(batches, key=lambda b: examples.lengths[b].sum())
    return model, examples.batch(batches[len(batches) // 2]).inputs["attention_mask"]


def ways_to_attend(model, mask):
    "name -> one attention forward with dropout 0.1."
    import torch
    from sft_nb.speed.ragged import Ragged, ragged_attention
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.models.bert.modeling_bert import eager_attention_forward
    ragged, layer, (n, length) = Ragged(mask), model.train(), mask.shape
    h = model.config.num_attention_heads
    d = model.config.hidden_size // h
    settings = {"dropout": 0.1, "scaling": d**-0.5}

    def three(*shape):
        "Queries, keys and values, by head."
        made = [torch.randn(*shape, h, d, requires_grad=True) for _ in range(3)]
        return [x.transpose(1, 2) for x in made]

    padded, packed = three(n, length), three(1, ragged.n)
    least = torch.finfo(torch.float32).min
    additive = torch.zeros(mask.shape).masked_fill(mask == 0, least)[:, None, None]
    scores = torch.randn(n * h, length, length, dtype=torch.bfloat16, requires_grad=True)

    def cast(): return scores.softmax(-1, dtype=torch.float32).to(scores.dtype)
    def eager(): return eager_attention_forward(layer, *padded, additive, **settings)[0]
    def sdpa(): return sdpa_attention_forward(layer, *padded, additive > -1, **settings)[0]
    def ours(): return ragged_attention(layer, *packed, **settings, ragged=ragged)[0]

    return {
        "softmax alone, in 16 bits": lambda: scores.softmax(-1),
        "softmax alone, in 32 bits, and casts": cast,
        "eager": eager, "sdpa": sdpa, "ours": ours,
    }


def attention(args, tries=25):
    """Milliseconds of one attention forward and backward with dropout 0.1, at the lengths of one
    batch: the best of several tries, in turn.
    """
    ways = ways_to_attend(*median_batch(args))
    spent = {name: [] for name in ways}
    for _ in range(tries):
        for name, f in ways.items():
            start = time.process_time()
            f().sum().backward()
            spent[name].append(1e3 * (time.process_time() - start))
    return {name: min(v) for name, v in spent.items()}


MEASUREMENTS = {"peak": peak, "shortcuts": shortcuts, "attention": attention, "profile": profile}


# is anything lost?

def parts_of(args):
    "Train and valid rows, by film, another split for each seed."
    from sft_nb.data.splitting import split
    from sft_nb.tasks.text.classification import film_reviews
    parts = split(
        film_reviews(), valid_size=args.valid_rows, certify_size=0, seed=args.seed, group="movie"
    )
    train = parts.train.sample(args.rows, random_state=args.seed)
    return train.reset_index(drop=True), parts.valid.reset_index(drop=True)


# the series

def update(key, change):
    "Read, change and replace the file, so that a cut leaves it whole."
    file = stored(OUT, {})
    change(file.setdefault(key, {"runs": [], "accuracy": [], "profile": {}}))
    save(file, OUT)
    return file[key]


PASSED_ON = ("rows", "batch", "epochs", "checkpoint", "length", "seed", "valid_rows", "clock")


def child(args, way):
    "The figures of one run."
    given = {name: getattr(args, name) for name in PASSED_ON}
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in given.items() if v is not None]
    if args.accuracy: flags.append("--accuracy")
    done = subprocess.run(
        [sys.executable, __file__, "--child", way, *flags], capture_output=True, text=True
    )
    if done.returncode: raise SystemExit(f"{way} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def check(runs):
    "All ways did the same work: updates, real tokens, decayed parameters, dropout rates."
    for name in ("updates", "tokens", "decayed", "dropout", "dropouts"):
        values = {r["way"]: r[name] for r in runs if name in r}
        first = next(iter(values.values()), None)
        assert all(v == first for v in values.values()), f"{name} differs: {values}"


def row_of(mine, ours, peaks, clock):
    "Medians of one way's runs, and ratios to the runs and the peak of the same repeat."
    seconds = statistics.median(r[clock] for r in mine)
    row = {
        "way": mine[0]["way"], "repeats": len(mine), "seconds": seconds,
        "tokens_per_second": mine[0]["tokens"] / seconds,
        "pads": 1 - mine[0]["tokens"] / mine[0]["cells"],
        "precision": mine[0]["precision"],
        "memory_mb": statistics.median(r["memory_mb"] for r in mine),
    }
    together = [r[clock] / ours[r["repeat"]] for r in mine if r["repeat"] in ours]
    if together: row["ours_is_faster_by"] = statistics.median(together)

    def share(work):
        rates = [r[work] / r[clock] / peaks[r["repeat"]]["best"] for r in mine]
        return statistics.median(rates)

    row["mfu"] = share("gflop")
    if "first" in mine[0].get("used", ()): row["mfu_of_what_is_read"] = share("gflop_read")
    return row


def table(entry, clock):
    "A row per way: medians over the repeats, and ratios of runs of the same repeat."
    runs = [r for r in entry["runs"] if r["way"] != "peak"]
    check(runs)
    peaks = {r["repeat"]: r for r in entry["runs"] if r["way"] == "peak"}
    ours = {r["repeat"]: r[clock] for r in runs if r["way"] == "sft_nb"}
    best = statistics.median(r["best"] for r in peaks.values()) if peaks else None

    def place(way): return WAYS.index(way) if way in WAYS else len(WAYS), way

    ways = sorted({r["way"] for r in runs}, key=place)
    by_way = [[r for r in runs if r["way"] == way] for way in ways]
    return [row_of(mine, ours, peaks, clock) for mine in by_way], best


def show(rows):
    line = "{:<22}{:>4}{:>10}{:>10}{:>8}{:>7}{:>8}{:>9}{:>8}"
    print(line.format("way", "n", "seconds", "tokens/s", "pads", "prec", "MB", "ours is", "MFU"))
    for r in rows:
        faster = f"{r['ours_is_faster_by']:.2f}x" if "ours_is_faster_by" in r else ""
        cells = (
            r["way"], r["repeats"], f"{r['seconds']:.1f}", f"{r['tokens_per_second']:.0f}",
            f"{r['pads']:.0%}", r["precision"], f"{r['memory_mb']:.0f}", faster, f"{r['mfu']:.2f}",
        )
        print(line.format(*cells))


def speed(args, key, clock):
    "Every way in turn, a repeat at a time; the order turns with the repeat."
    ways = args.ways.split(",")
    for repeat in range(args.first, args.first + args.repeats):
        turn = repeat % len(ways)
        for way in ["peak", *ways[turn:], *ways[:turn]]:
            have = stored(OUT, {}).get(key, {"runs": []})["runs"]
            if has(have, way=way, repeat=repeat): continue
            found = {"way": way, "repeat": repeat} | child(args, way)
            update(key, lambda entry, found=found: entry["runs"].append(found))
            told = ("cpu_seconds", "wall_seconds", "best")
            print(repeat, way, {k: round(found[k], 1) for k in told if k in found}, flush=True)


def summary(key, clock, rows_count):
    rows, best = table(stored(OUT, {})[key], clock)
    faster = {r["way"]: r["ours_is_faster_by"] for r in rows if "ours_is_faster_by" in r}
    ratios = {way: round(ratio, 3) for way, ratio in faster.items() if way in TARGETS}
    mfu = next((round(r["mfu"], 3) for r in rows if r["way"] == "sft_nb"), None)
    about = {"machine": machine(), "clock": clock, "rows": rows_count, "peak_gflops": best}
    found = {"ratios": ratios, "mfu": mfu}
    update(key, lambda entry: entry.update(about, table=rows, **found))
    show(rows)
    return found


def options():
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first repeat, to add some to a series"
    )
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument(
        "--checkpoint", default="minilm", help="or bert-base: random weights of that size"
    )
    parser.add_argument(
        "--length", type=int, help="tokens in every row; default: as long as the reviews are"
    )
    parser.add_argument(
        "--clock", choices=("cpu", "wall"), help="default: cpu on one CPU thread, otherwise wall"
    )
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--valid-rows", type=int, default=1000)
    parser.add_argument("--results", type=Path, default=OUT, help="another file")
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def entry_name(args, about):
    "Under what the figures of this machine and setting are kept."
    threads = about["threads"]
    name = f"{about['capability']}, {threads} thread{'s' * (threads > 1)}, {args.checkpoint}, "
    length = f" of {args.length} tokens" if args.length else ""
    return f"{name}{args.rows} rows{length}"


def profiled(args, key, device):
    found = {
        "profile": {way: child(args, f"profile {way}") for way in ("sft_nb:", "sft_nb")},
        "attention_ms": child(args, "attention") if device == "cpu" else {},
        "shortcuts": child(args, "shortcuts"),
    }
    update(key, lambda entry: entry.update(found))
    print(json.dumps(found))


def main():
    global OUT
    args = options()
    if args.child: return one(args, args.child)
    OUT, about = args.results, machine()
    key = entry_name(args, about)
    alone = about["threads"] == 1 and about["device"] == "cpu"
    args.clock = args.clock or ("cpu" if alone else "wall")
    if args.accuracy: return accuracy(args, key)
    if args.profile: return profiled(args, key, about["device"])
    clock = f"{args.clock}_seconds"
    speed(args, key, clock)
    print(json.dumps(summary(key, clock, args.rows)))


def accuracy(args, key):
    "Trainer with defaults against ours, a seed at a time."
    pair = ("trainer_default", "sft_nb")
    series = {"epochs": args.epochs, "valid_rows": args.valid_rows}
    for seed in range(args.seeds):
        for way in pair:
            have = stored(OUT, {}).get(key, {"accuracy": []})["accuracy"]
            setting = {"way": way, "seed": seed} | series
            if has(have, **setting): continue
            args.seed = seed
            found = setting | {"accuracy": child(args, way)["accuracy"]}
            update(key, lambda entry, found=found: entry["accuracy"].append(found))
            print(found, flush=True)
    runs = [r for r in stored(OUT, {})[key]["accuracy"] if series.items() <= r.items()]
    theirs, ours = ({r["seed"]: r["accuracy"] for r in runs if r["way"] == way} for way in pair)
    gaps = [ours[s] - theirs[s] for s in ours if s in theirs]
    mean = statistics.mean(gaps)
    update(key, lambda entry: entry.update(accuracy_gap=mean))
    print(json.dumps({"seeds": len(gaps), "mean gap": mean, "gaps": gaps}))


if __name__ == "__main__":
    main()
