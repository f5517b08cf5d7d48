"""Does the processor matter? Runs of a lab that another kind of processor made, made here again.

Appends to results/labs/few_labels_again.jsonl; what is there is not done again.

python tests/bench/processors.py [--seconds N]

Draws 0 to 4 at eight labels of each class, of four ways. Lab 2 compares them with its own.
"""
from dataclasses import replace

from series import RESULTS, capability, command_line

from sft_nb.labs.few_labels import LAB
from sft_nb.labs.running import finished, repeat

WAYS, BUDGET, DRAWS = ("probe", "contrastive", "lora", "full"), 8, range(5)
STORED = finished(RESULTS / "labs/few_labels.jsonl")


def elsewhere(runs):
    "Settings of stored runs that were not made on this kind of processor."
    others = [run["settings"] for run in STORED if run["machine"]["capability"] != capability()]
    return [s for s in others if s["budget"] == BUDGET and s["part"] == "judged"
            and s["rate"] is None and s["way"] in WAYS and s["draw"] in DRAWS]


if __name__ == "__main__":
    parser = command_line(__doc__)
    parser.add_argument("--seconds", type=float, help="begin no further run after so many")
    asked = parser.parse_args()
    repeat(replace(LAB, wanted=elsewhere), RESULTS / "labs/few_labels_again.jsonl",
           seconds=asked.seconds)
