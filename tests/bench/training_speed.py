"""How fast is the loop? Six ways to train the same thing, in one run and in turn. Writes results/training_speed.json.

python tests/bench/training_speed.py [--repeats 5] [--rows 2000] [--ways trainer_default,padded,…]
python tests/bench/training_speed.py --profile                where the time of a step goes, and what each shortcut is worth
python tests/bench/training_speed.py --accuracy [--seeds 5]   is anything lost?

Every run is a process of its own, so that the peak of its memory is its own. What is in the file is skipped: a series
survives being cut off. Loading, tokenising and a first look at the data are outside the timed part; evaluation is off.
On one CPU thread the clock is the process's CPU time, which is what a wall clock shows when nobody else works on the
machine; otherwise it is the wall clock. Another kind of machine adds an entry of its own.
"""
import argparse, contextlib, hashlib, json, resource, statistics, subprocess, sys, tempfile, time
from pathlib import Path

from series import RESULTS, machine, save, stored

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
        rows["text"] = [
            " ".join(rows.text.sample(args.length // 4, random_state=i)) for i in range(len(rows))
        ]
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


def with_trainer(args, way, clock, rows, task, evaluate=None):
    from transformers import (
        DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments, set_seed,
    )
    from sft_nb.training.gradient import pick_device, pick_precision
    model, tokenizer = task.build(checkpoint_of(args.checkpoint), seed=args.seed)
    encoded = task.encode_all(rows, tokenizer)
    texts = [
        {
            "input_ids": e["input_ids"], "attention_mask": [1] * len(e["input_ids"]),
            "labels": e["classes"][0],
        }
        for e in encoded
    ]
    if way == "padded":
        texts = [
            {k: v if k == "labels" else v + [0] * (128 - len(v)) for k, v in t.items()}
            for t in texts
        ]
    seen, pads = [0, 0], DataCollatorWithPadding(tokenizer)

    def collate(examples):
        batch = pads(examples)
        seen[0] += batch["attention_mask"].sum().item()
        seen[1] += batch["attention_mask"].numel()
        return batch

    class Watch(TrainerCallback):
        def on_train_begin(self, *_, **__): clock.start()
        def on_train_end(self, *_, **__): clock.stop()

    device = pick_device()
    tuned = (
        {
            "bf16": pick_precision("auto", device) == "bf16",
            "train_sampling_strategy": "group_by_length",
            "optim": "adamw_torch_fused",
        }
        if way == "trainer_tuned"
        else {}
    )
    updates = -(-len(texts) // args.batch) * args.epochs
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=args.batch, num_train_epochs=args.epochs,
            learning_rate=LEARNING_RATE, weight_decay=DECAY,
            warmup_steps=int(WARMUP * updates), save_strategy="no", report_to="none",
            disable_tqdm=True, logging_strategy="no", seed=args.seed,
            use_cpu=device.type == "cpu", **tuned,
        )
        set_seed(args.seed)
        trainer = Trainer(
            model, arguments, train_dataset=texts, data_collator=collate,
            processing_class=tokenizer, callbacks=[Watch()],
        )
        trainer.train()
    names = {id(p): n for n, p in model.named_parameters()}
    decayed = [
        names[id(p)]
        for g in trainer.optimizer.param_groups
        if g["weight_decay"]
        for p in g["params"]
    ]
    found = meaning(model, decayed, trainer.state.global_step, seen[0]) | {
        "cells": seen[1],
        "precision": "bf16" if tuned.get("bf16") else "fp32",
    }
    return found | ({"accuracy": evaluate(model, tokenizer)} if evaluate else {})


def with_bare_loop(args, way, clock, rows, task, evaluate=None):
    import torch
    from sft_nb.models.layers import parameter_groups
    from sft_nb.training.recipe import rate_factor
    from sft_nb.training.gradient import pick_device
    device = pick_device()
    model, tokenizer = task.build(checkpoint_of(args.checkpoint), seed=args.seed)
    examples = task.encode_all(rows, tokenizer)
    model.to(device).train()
    torch.manual_seed(args.seed)
    groups = parameter_groups(model, LEARNING_RATE, DECAY)
    opt = torch.optim.AdamW(groups, foreach=False)
    updates = -(-len(examples) // args.batch) * args.epochs
    tokens = 0
    cells = 0
    step = 0
    clock.start()
    for _ in range(args.epochs):
        for part in torch.randperm(len(examples)).split(args.batch):
            for g in opt.param_groups:
                g["lr"] = LEARNING_RATE * rate_factor(step, updates, WARMUP)
            batch = task.collate([examples[i] for i in part], tokenizer).to(device)
            loss = torch.nn.functional.cross_entropy(
                model(**batch.inputs).logits, batch.targets["classes"]
            )
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            step += 1
            tokens += batch.inputs["attention_mask"].sum().item()
            cells += batch.inputs["attention_mask"].numel()
    clock.stop()
    return meaning(
        model, [n for g in groups if g["weight_decay"] for n in g["names"]], step, tokens
    ) | {"cells": cells, "precision": "fp32"}


def our_run(args, way, task, rows):
    """A run with chosen shortcuts:

    `sft_nb` as it is, `sft_nb:dice+rows` with these alone, `sft_nb:` with none.
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
    batches = [
        b
        for e in range(args.epochs)
        for b in run.examples.batches(args.batch, epoch=e, window=run.plan.length_window)
    ]
    cells = sum(len(b) * int(lengths[b].max()) for b in batches)
    found |= {
        "cells": cells,
        "precision": pick_precision("auto", run.device),
        "used": run.quick.used,
    }
    return found | ({"accuracy": evaluate(run.model, run.processor)} if evaluate else {})


def peak(args, tries=12):
    """GFLOP/s of the matrix products of one block, forward and backward, when nothing else is
    computed: the best, and the median.
    """
    import torch
    from sft_nb.models.layers import blocks
    from sft_nb.training.gradient import pick_device, pick_precision
    device = pick_device()
    rows = rows_of(args)
    task = task_of(args, rows)
    dtype = torch.bfloat16 if pick_precision("auto", device) == "bf16" else torch.float32
    model, tokenizer = task.build(checkpoint_of(args.checkpoint))
    m = args.batch * sum(len(e["input_ids"]) for e in task.encode_all(rows, tokenizer)) // len(rows)
    weights = [
        p.detach().to(device, dtype) for p in blocks(model)[1][0].parameters() if p.ndim == 2
    ]
    cases = [
        (
            w,
            torch.randn(m, w.shape[1], device=device, dtype=dtype),
            torch.randn(m, w.shape[0], device=device, dtype=dtype),
        )
        for w in weights
    ]
    sync, rates = torch.cuda.synchronize if device.type == "cuda" else lambda: None, []
    now = (
        time.process_time
        if device.type == "cpu" and torch.get_num_threads() == 1
        else time.perf_counter
    )
    for _ in range(tries + 2):
        sync()
        start = now()
        for w, x, g in cases:
            x @ w.t()
            g @ w
            g.t() @ x
        sync()
        rates.append(sum(6 * m * w.numel() for w in weights) / (now() - start) / 1e9)
    return {"best": max(rates[2:]), "median": statistics.median(rates[2:]), "m": m}


def one(args, way):
    "Run one way and print its figures as the last line."
    import torch
    if way == "peak":
        print(json.dumps(peak(args)))
        return
    if way == "shortcuts":
        print(json.dumps(shortcuts(args)))
        return
    if way == "attention":
        print(json.dumps(attention(args)))
        return
    if way.startswith("profile "):
        print(json.dumps(profile(args, way.split()[1])))
        return
    from sft_nb.speed.measuring import training_flops
    rows, clock, judge, valid = rows_of(args), Clock(), None, None
    if args.accuracy: rows, valid = parts_of(args)
    task = task_of(args, rows)
    if args.accuracy:
        from sft_nb.evaluation.judging import evaluate
        judge = lambda model, processor: evaluate(
            task, model, processor, valid, device=next(model.parameters()).device
        ).metrics["accuracy"]
    work = (
        with_sft_nb
        if way.startswith("sft_nb")
        else with_bare_loop
        if way == "bare"
        else with_trainer
    )
    found = work(args, way, clock, rows, task, judge)
    model, tokenizer = task.build(checkpoint_of(args.checkpoint))
    lengths = [len(e["input_ids"]) for e in task.encode_all(rows, tokenizer)]
    memory = (
        torch.cuda.max_memory_allocated()
        if torch.cuda.is_available()
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    found |= {
        "wall_seconds": clock.wall,
        "cpu_seconds": clock.cpu,
        "gflop": training_flops(model, lengths) * args.epochs / 1e9,
        "gflop_read": training_flops(model, lengths, first_only=True) * args.epochs / 1e9,
        "memory_mb": memory / 2**20,
    }
    print(json.dumps(found))


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
    """What each shortcut adds:

    the same updates with more and more of them, in turn on every batch; medians of the ratios to
    none.
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
    return {
        name: statistics.median(a / b for a, b in zip(spent["none"], spent[name])) for name in spent
    }


def attention(args, tries=25):
    """Milliseconds of one attention forward and backward with dropout 0.1, at the lengths of one
    batch: the best of several tries, in turn.
    """
    import numpy as np
    import torch
    from sft_nb.batches.batching import Examples
    from sft_nb.speed.ragged import Ragged, ragged_attention
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.models.bert.modeling_bert import eager_attention_forward
    rows = rows_of(args)
    task = task_of(args, rows)
    model, tokenizer = task.build(checkpoint_of(args.checkpoint))
    examples = Examples(task, rows, tokenizer, seed=args.seed)
    batches = examples.batches(args.batch, epoch=0)
    mask = examples.batch(
        sorted(batches, key=lambda b: examples.lengths[b].sum())[len(batches) // 2]
    ).inputs["attention_mask"]
    ragged, c, layer = Ragged(mask), model.config, model.train()
    h, d = c.num_attention_heads, c.hidden_size // c.num_attention_heads
    padded = [torch.randn(*mask.shape, h, d, requires_grad=True) for _ in range(3)]
    packed = [torch.randn(1, ragged.n, h, d, requires_grad=True) for _ in range(3)]
    additive = torch.zeros(mask.shape).masked_fill(mask == 0, torch.finfo(torch.float32).min)[
        :, None, None
    ]
    heads = lambda x: [y.transpose(1, 2) for y in x]
    scores = torch.randn(
        len(mask) * h, mask.shape[1], mask.shape[1], dtype=torch.bfloat16, requires_grad=True
    )
    ways = {
        "softmax alone, in 16 bits": lambda: scores.softmax(-1),
        "softmax alone, in 32 bits, and casts": lambda: scores.softmax(-1, dtype=torch.float32).to(
            scores.dtype
        ),
        "eager": lambda: eager_attention_forward(
            layer, *heads(padded), additive, dropout=0.1, scaling=d**-0.5
        )[0],
        "sdpa": lambda: sdpa_attention_forward(
            layer, *heads(padded), additive > -1, dropout=0.1, scaling=d**-0.5
        )[0],
        "ours": lambda: ragged_attention(
            layer, *heads(packed), dropout=0.1, scaling=d**-0.5, ragged=ragged
        )[0],
    }
    spent = {name: [] for name in ways}
    for _ in range(tries):
        for name, f in ways.items():
            start = time.process_time()
            f().sum().backward()
            spent[name].append(1e3 * (time.process_time() - start))
    return {name: float(np.min(v)) for name, v in spent.items()}


# is anything lost?

def parts_of(args):
    "Train and valid rows, by film, another split for each seed."
    from sft_nb.data.splitting import split
    from sft_nb.tasks.text.classification import film_reviews
    parts = split(
        film_reviews(), valid_size=args.valid_rows, certify_size=0, seed=args.seed, group="movie"
    )
    return parts.train.sample(args.rows, random_state=args.seed).reset_index(
        drop=True
    ), parts.valid.reset_index(drop=True)


# the series

def update(key, change):
    "Read, change and replace the file, so that a cut leaves it whole."
    file = stored(OUT, {})
    change(file.setdefault(key, {"runs": [], "accuracy": [], "profile": {}}))
    save(file, OUT)
    return file[key]


def child(args, way):
    "The figures of one run."
    flags = [
        f"--{k}={v}"
        for k in ("rows", "batch", "epochs", "checkpoint", "length", "seed", "valid_rows", "clock")
        if (v := getattr(args, k)) is not None
    ]
    done = subprocess.run(
        [
            sys.executable, __file__, "--child", way,
            *[f.replace("valid_rows", "valid-rows") for f in flags],
            *(["--accuracy"] if args.accuracy else []),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode: raise SystemExit(f"{way} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def check(runs):
    "All ways did the same work: updates, real tokens, decayed parameters, dropout rates."
    for name in ("updates", "tokens", "decayed", "dropout", "dropouts"):
        values = {r["way"]: r[name] for r in runs if name in r}
        if values:
            assert all(v == next(iter(values.values())) for v in values.values()), (
                f"{name} differs: {values}"
            )


def table(entry, clock):
    "A row per way: medians over the repeats, and ratios of runs of the same repeat."
    runs = [r for r in entry["runs"] if r["way"] != "peak"]
    check(runs)
    peaks = {r["repeat"]: r for r in entry["runs"] if r["way"] == "peak"}
    ours, out = {r["repeat"]: r[clock] for r in runs if r["way"] == "sft_nb"}, []
    best = statistics.median(r["best"] for r in peaks.values()) if peaks else None
    for way in sorted(
        {r["way"] for r in runs}, key=lambda w: (WAYS.index(w) if w in WAYS else len(WAYS), w)
    ):
        mine = [r for r in runs if r["way"] == way]
        seconds = statistics.median(r[clock] for r in mine)
        row = {
            "way": way, "repeats": len(mine), "seconds": seconds,
            "tokens_per_second": mine[0]["tokens"] / seconds,
            "pads": 1 - mine[0]["tokens"] / mine[0]["cells"],
            "precision": mine[0]["precision"],
            "memory_mb": statistics.median(r["memory_mb"] for r in mine),
        }
        together = [r[clock] / ours[r["repeat"]] for r in mine if r["repeat"] in ours]
        if together: row["ours_is_faster_by"] = statistics.median(together)
        share = lambda work: statistics.median(
            r[work] / r[clock] / peaks[r["repeat"]]["best"] for r in mine
        )
        row["mfu"] = share("gflop")
        if "first" in mine[0].get("used", ()): row["mfu_of_what_is_read"] = share("gflop_read")
        out.append(row)
    return out, best


def show(rows):
    line = "{:<22}{:>4}{:>10}{:>10}{:>8}{:>7}{:>8}{:>9}{:>8}"
    print(line.format("way", "n", "seconds", "tokens/s", "pads", "prec", "MB", "ours is", "MFU"))
    for r in rows:
        print(
            line.format(
                r["way"], r["repeats"], f"{r['seconds']:.1f}", f"{r['tokens_per_second']:.0f}",
                f"{r['pads']:.0%}", r["precision"], f"{r['memory_mb']:.0f}",
                f"{r['ours_is_faster_by']:.2f}x" if "ours_is_faster_by" in r else "",
                f"{r['mfu']:.2f}" if "mfu" in r else "",
            )
        )


def speed(args, key, clock):
    "Every way in turn, a repeat at a time; the order turns with the repeat."
    ways = args.ways.split(",")
    for repeat in range(args.first, args.first + args.repeats):
        for way in ["peak", *ways[repeat % len(ways):], *ways[:repeat % len(ways)]]:
            have = stored(OUT, {}).get(key, {"runs": []})["runs"]
            if any(r["way"] == way and r["repeat"] == repeat for r in have): continue
            found = {"way": way, "repeat": repeat} | child(args, way)
            update(key, lambda e, found=found: e["runs"].append(found))
            print(
                repeat,
                way,
                {
                    k: round(found[k], 1)
                    for k in ("cpu_seconds", "wall_seconds", "best")
                    if k in found
                },
                flush=True,
            )


def summary(key, clock, rows_count):
    entry = stored(OUT, {})[key]
    rows, best = table(entry, clock)
    ratios = {
        r["way"]: round(r["ours_is_faster_by"], 3)
        for r in rows
        if r["way"] in TARGETS and "ours_is_faster_by" in r
    }
    mfu = next((round(r["mfu"], 3) for r in rows if r["way"] == "sft_nb" and "mfu" in r), None)
    update(
        key,
        lambda e: e.update(
            machine=machine(), clock=clock, rows=rows_count, peak_gflops=best, table=rows,
            ratios=ratios, mfu=mfu,
        ),
    )
    show(rows)
    return {"ratios": ratios, "mfu": mfu}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    parser.add_argument("--results", type=Path, help="another file")
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child: return one(args, args.child)
    global OUT
    OUT = args.results or OUT
    about = machine()
    threads = about["threads"]
    key = (
        f"{about['capability']}, {threads} thread{'s' * (threads > 1)}, {args.checkpoint}, "
        f"{args.rows} rows"
        + (f" of {args.length} tokens" if args.length else "")
    )
    args.clock = args.clock or ("cpu" if threads == 1 and about["device"] == "cpu" else "wall")
    clock = f"{args.clock}_seconds"
    if args.accuracy: return accuracy(args, key)
    if args.profile:
        shares = {way: child(args, f"profile {way}") for way in ("sft_nb:", "sft_nb")}
        found = {
            "profile": shares,
            "attention_ms": child(args, "attention") if about["device"] == "cpu" else {},
            "shortcuts": child(args, "shortcuts"),
        }
        update(key, lambda e: e.update(found))
        print(json.dumps(found))
        return
    speed(args, key, clock)
    print(json.dumps(summary(key, clock, args.rows)))


def accuracy(args, key):
    "Trainer with defaults against ours, a seed at a time."
    for seed in range(args.seeds):
        for way in ("trainer_default", "sft_nb"):
            have = stored(OUT, {}).get(key, {"accuracy": []})["accuracy"]
            setting = {
                "way": way, "seed": seed, "epochs": args.epochs, "valid_rows": args.valid_rows,
            }
            if any(setting.items() <= r.items() for r in have): continue
            args.seed = seed
            found = setting | {"accuracy": child(args, way)["accuracy"]}
            update(key, lambda e, found=found: e["accuracy"].append(found))
            print(found, flush=True)
    of = {
        way: {
            r["seed"]: r["accuracy"]
            for r in stored(OUT, {})[key]["accuracy"]
            if r["way"] == way and r["epochs"] == args.epochs and r["valid_rows"] == args.valid_rows
        }
        for way in ("trainer_default", "sft_nb")
    }
    gaps = [
        of["sft_nb"][s] - of["trainer_default"][s]
        for s in of["sft_nb"]
        if s in of["trainer_default"]
    ]
    update(key, lambda e: e.update(accuracy_gap=statistics.mean(gaps)))
    print(json.dumps({"seeds": len(gaps), "mean gap": statistics.mean(gaps), "gaps": gaps}))


if __name__ == "__main__":
    main()
