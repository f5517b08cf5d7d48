"""When does a model begin to learn by heart? Writes results/widgets/overfitting.json.

python tests/bench/widgets_overfitting.py

MiniLM on film reviews: three training sizes, dropout, weight decay; the losses of every epoch on
the training rows and on 200 reviews of other films. What is already in the file is skipped.
"""
from itertools import product

from few_reviews import films
from series import RESULTS, command_line, has, machine, save, stored

from sft_nb.tasks.text.classification import TextClassification
from sft_nb.training.recipe import Recipe
from sft_nb.training.tuner import FineTuner

OUT = RESULTS / "widgets" / "overfitting.json"
EPOCHS = {40: 10, 160: 6, 480: 3}
DROPOUTS, DECAYS = (0., .3), (.01, 10.)
VALID = 200


def curve(rows, dropout, decay):
    "The losses and the accuracy of each epoch."
    parts = films()
    train = parts.train.sample(rows, random_state=0).reset_index(drop=True)
    valid = parts.valid.sample(VALID, random_state=0).reset_index(drop=True)
    recipe = Recipe(
        seed=0, epochs=EPOCHS[rows], batch_size=16, learning_rate=2e-4, schedule="constant",
        dropout=dropout, weight_decay=decay)
    epochs = FineTuner(TextClassification(), "minilm", recipe).fit(train, valid).history.epochs
    keys = "train_loss", "valid_loss", "accuracy"
    return {key: [round(e[key], 4) for e in epochs] for key in keys}


def main():
    command_line(__doc__).parse_args()
    for rows, decay, dropout in product(EPOCHS, DECAYS, DROPOUTS):
        file = stored(OUT, {"valid": VALID, "machine": machine(), "runs": []})
        named = {"rows": rows, "dropout": dropout, "decay": decay}
        if has(file["runs"], **named): continue
        file["runs"].append(named | curve(rows, dropout, decay))
        save(file, OUT)
        print(named, file["runs"][-1]["valid_loss"], flush=True)


if __name__ == "__main__":
    main()
