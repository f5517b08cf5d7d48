"""What the benches share:

a file of stored runs that survives being cut off, and what their numbers hang on.
"""
import datetime
import json
import os
import platform
import subprocess
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "results"


def machine():
    "What the numbers hang on; no names of hosts or folders."
    import torch
    import transformers
    has = lambda feature: getattr(torch.cpu, f"_is_{feature}_supported", lambda: False)()
    cuda = torch.cuda.is_available()
    capability = (
        torch.cuda.get_device_name()
        if cuda
        else "AMX"
        if has("amx_tile")
        else "AVX512_BF16"
        if has("avx512_bf16")
        else torch.backends.cpu.get_cpu_capability()
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    return {
        "cpu": platform.processor() or platform.machine(),
        "device": "cuda" if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "capability": capability,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": datetime.date.today().isoformat(),
        "commit": commit,
    }


def stored(path, empty):
    "What the file holds; `empty` if there is none yet."
    return json.loads(path.read_text()) if path.exists() else empty


def save(runs, path):
    "Write the file whole, or leave the old one."
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(runs, indent=1, ensure_ascii=False) + "\n")
    os.replace(temporary, path)
