"""Launched by test_shards.py: a short run with every way of training that moves weights.

rank_methods.py OUT CHECKPOINT: the weights of each, or the sentence that refuses it.
"""
import json
import sys
from pathlib import Path

from rank_run import RECIPE, ROWS, TASK, rows, weights
from safetensors.torch import save_file

from sft_nb.all import FineTuner
from sft_nb.batches.ranks import one_voice, ranks
from sft_nb.methods.agreement import RDrop
from sft_nb.methods.averaging import Ema, Swa
from sft_nb.methods.distillation import FewerLayers
from sft_nb.methods.fresh_top import FreshTop
from sft_nb.methods.heads import FitHead
from sft_nb.methods.lora import Lora
from sft_nb.methods.rates import SlowBody
from sft_nb.methods.sharpness import Sam
from sft_nb.methods.small_parts import BiasOnly, Ia3
from sft_nb.methods.smoothing import LabelSmoothing
from sft_nb.task import SFTError

SHORT = RECIPE.but(epochs=1)
WAYS = {  # name -> a recipe
    "the moving mean": SHORT.but(methods=(Ema(0.5),)),
    "the plain mean": SHORT.but(methods=(Swa(0.5),)),
    "sharpness": SHORT.but(methods=(Sam(),)),
    "agreement": SHORT.but(methods=(RDrop(),)),
    "smoothing": SHORT.but(methods=(LabelSmoothing(),)),
    "adapters": SHORT.but(methods=(Lora(),)),
    "scales": SHORT.but(methods=(Ia3(),)),
    "biases": SHORT.but(methods=(BiasOnly(),)),
    "a slow body": SHORT.but(methods=(SlowBody(),)),
    "a fresh top": SHORT.but(methods=(FreshTop(1),)),
    "fewer layers": SHORT.but(methods=(FewerLayers(1),)),
    "a fitted head": SHORT.but(epochs=0, methods=(FitHead(),)),
    "the top block": SHORT.but(unfreeze_last=1),
    "blocks twice": SHORT.but(gradient_checkpointing=True),
    "depth decay, no clipping": SHORT.but(depth_decay=0.7, max_grad_norm=None),
}


def by_way(checkpoint):
    "name -> weights; name -> why not."
    found, refused = {}, {}
    for name, recipe in WAYS.items():
        try:
            found[name] = weights(FineTuner(TASK, str(checkpoint), recipe).fit(rows(), ROWS))
        except SFTError as e:
            refused[name] = str(e)
    return found, refused


if __name__ == "__main__":
    out, checkpoint = map(Path, sys.argv[1:])
    found, refused = by_way(checkpoint)
    with one_voice():
        print("refused", json.dumps(refused))
    if ranks().is_main_process: save_file(found, out / "ways.safetensors")
