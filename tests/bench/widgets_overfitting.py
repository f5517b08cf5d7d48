"""When does a model begin to learn by heart? Writes results/widgets/overfitting.json.

python tests/bench/widgets_overfitting.py

A small network on counted words of film reviews: four training sizes, three dropouts, three weight
decays, thirty epochs; the losses of every epoch on the training rows and on 1,000 reviews of other
films.
"""
from itertools import product

import torch
from few_reviews import films
from series import RESULTS, command_line, machine, save
from sklearn.feature_extraction.text import CountVectorizer
from torch import nn
from torch.nn import functional as F

from sft_nb.batches.batching import cut, order
from sft_nb.chance import torch_seed

OUT = RESULTS / "widgets" / "overfitting.json"
SIZES, DROPOUTS, DECAYS = (60, 240, 960, 3840), (0., .3, .6), (0., .1, 1.)
EPOCHS, WORDS, HIDDEN, BATCH, RATE, VALID = 30, 2000, 64, 32, 3e-3, 1000


def counted(train, valid):
    "Words that are there or not, and answers, as tensors."
    words = CountVectorizer(max_features=WORDS, binary=True).fit(train.text)
    for rows in (train, valid):
        yield torch.tensor(words.transform(rows.text).toarray(), dtype=torch.float32)
        yield torch.tensor((rows.label == "fresh").to_numpy(), dtype=torch.long)


def losses(net, x, y):
    with torch.no_grad():
        said = net.eval()(x)
    right = (said.argmax(1) == y).float().mean().item()
    return round(F.cross_entropy(said, y).item(), 4), round(right, 4)


def curve(parts, rows, dropout, decay):
    train, valid = parts.train.sample(rows, random_state=0), parts.valid
    x, y, x_valid, y_valid = counted(train, valid.sample(VALID, random_state=0))
    with torch_seed("overfitting", rows):
        net = nn.Sequential(nn.Linear(x.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(dropout),
                            nn.Linear(HIDDEN, 2))
        optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=decay)
        found = {"train_loss": [], "valid_loss": [], "accuracy": []}
        for epoch in range(EPOCHS):
            net.train()
            for rows_ in cut(order(len(x), 0, epoch), BATCH):
                optimizer.zero_grad()
                F.cross_entropy(net(x[rows_]), y[rows_]).backward()
                optimizer.step()
            found["train_loss"].append(losses(net, x, y)[0])
            valid_loss, accuracy = losses(net, x_valid, y_valid)
            found["valid_loss"].append(valid_loss)
            found["accuracy"].append(accuracy)
    return found


def main():
    command_line(__doc__).parse_args()
    parts, runs = films(), []
    for rows, dropout, decay in product(SIZES, DROPOUTS, DECAYS):
        named = {"rows": rows, "dropout": dropout, "decay": decay}
        runs.append(named | curve(parts, **named))
        print(named, min(runs[-1]["valid_loss"]), flush=True)
    save({"valid": VALID, "machine": machine(), "runs": runs}, OUT)


if __name__ == "__main__":
    main()
