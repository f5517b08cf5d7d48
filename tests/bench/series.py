"""What the benches share:

a file of stored runs that survives being cut off, and what their numbers hang on.
"""
import argparse
import datetime
import json
import os
import platform
import subprocess
import time
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "results"


def command_line(doc):
    "A parser whose help is a bench's docstring, as it stands."
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def listed(text):
    "The parts of an option with commas."
    return [part for part in text.split(",") if part]


def capability():
    "What sets the speed of matrix products here."
    import torch
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    for name, feature in (("AMX", "amx_tile"), ("AVX512_BF16", "avx512_bf16")):
        supported = getattr(torch.cpu, f"_is_{feature}_supported", None)
        if supported and supported():
            return name
    return torch.backends.cpu.get_cpu_capability()


def machine():
    "What the numbers hang on; no names of hosts or folders."
    import torch
    import transformers
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    return {
        "cpu": platform.processor() or platform.machine(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "capability": capability(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": datetime.date.today().isoformat(),
        "commit": commit,
    }


class Spent:
    "Seconds since it was made, by the wall clock and of the processor."
    def __init__(self):
        self.wall, self.processor = time.perf_counter(), time.process_time()

    @property
    def seconds(self): return round(time.perf_counter() - self.wall, 1)

    @property
    def processor_seconds(self): return round(time.process_time() - self.processor, 1)

    def to_dict(self):
        return {"seconds": self.seconds, "processor_seconds": self.processor_seconds}


def has(runs, **wanted):
    "Is there a run with these values?"
    return find(runs, **wanted) is not None


def find(runs, **wanted):
    "The first run with these values, or None."
    return next((r for r in runs if all(r.get(k) == v for k, v in wanted.items())), None)


def without_nan(metrics):
    "JSON has no NaN."
    return {k: v if v == v else None for k, v in metrics.items()}


def stored(path, empty):
    "What the file holds; `empty` if there is none yet."
    return json.loads(path.read_text()) if path.exists() else empty


def stored_of_sizes(path, sizes):
    "What the file holds, which must be a series of these sizes."
    file = stored(path, {"sizes": sizes, "runs": []})
    if file["sizes"] != sizes:
        raise SystemExit(
            f"{path} holds a series of other sizes, {file['sizes']}: give another --out, or "
            "the same sizes."
        )
    return file


def save(runs, path):
    "Write the file whole, or leave the old one."
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(runs, indent=1, ensure_ascii=False) + "\n")
    os.replace(temporary, path)
