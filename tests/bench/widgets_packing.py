"""How long film reviews are, in MiniLM's tokens. Writes results/widgets/packing.json.

python tests/bench/widgets_packing.py
"""
from series import RESULTS, command_line, machine, save

from sft_nb.models.loading import load
from sft_nb.tasks.text.classification import film_reviews

OUT = RESULTS / "widgets" / "packing.json"
ROWS = 512


def main():
    command_line(__doc__).parse_args()
    texts = film_reviews().text.sample(ROWS, random_state=0)
    _, processor = load("minilm", "sequence-classification", num_labels=2)
    save({"lengths": [len(ids) for ids in processor(list(texts))["input_ids"]],
          "machine": machine()}, OUT)


if __name__ == "__main__":
    main()
