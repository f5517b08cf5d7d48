"""Tweets with pieces, right tags and answers. Writes results/widgets/pieces.json.

python tests/bench/widgets_pieces.py

Nothing is trained: tags and figures are those of results/sequence_labelling.json, whose certify
tweets these are; the pieces are those of MiniLM.
"""
import statistics

from sequence_labelling import tweet_data
from series import RESULTS, command_line, machine, save, stored

from sft_nb.models.loading import load
from sft_nb.tasks.tagging.schemes import entities
from sft_nb.tasks.tagging.word_pieces import word_pieces

OUT = RESULTS / "widgets" / "pieces.json"
RUNGS = ("majority", "dictionary", "frozen", "fine-tuned")
FIGURES = ("f1", "token_accuracy")


LEFT_OUT = {"snort", "dude", "niiiiiiiiiight"}  # words of tweets that do not suit a classroom


def shown_tweets(rows, pieces):
    "Positions of tweets with an entity of several pieces that fit into a picture."
    for i, (words, of_words) in enumerate(zip(rows.words, pieces, strict=True)):
        tags = rows.tags[i]
        cut = any(len(p) > 1 and t != "O" for p, t in zip(of_words, tags, strict=True))
        suits = LEFT_OUT.isdisjoint(map(str.lower, words))
        if suits and cut and entities(list(tags)) and sum(map(len, of_words)) <= 21:
            yield i


def tweet(i, rows, pieces, processor, run):
    said = {rung: run["tags"][rung][i].split() for rung in RUNGS}
    return {
        "words": list(rows.words[i]), "tags": list(rows.tags[i]), "said": said,
        "pieces": [processor.convert_ids_to_tokens(p) for p in pieces[i]],
    }


def mean_figures(runs): return {k: round(statistics.mean(r[k] for r in runs), 4) for k in FIGURES}


def main():
    command_line(__doc__).parse_args()
    file = stored(RESULTS / "sequence_labelling.json", {})
    rows = tweet_data(0)[1]["certify"].reset_index(drop=True)
    _, processor = load("minilm", "token-classification", num_labels=2)
    pieces = word_pieces([list(words) for words in rows.words], processor)
    chosen = list(shown_tweets(rows, pieces))[:8]
    run = file["runs"][0]
    save({
        "tweets": [tweet(i, rows, pieces, processor, run) for i in chosen],
        "figures": {rung: {k: round(run["ladder"][rung][k], 4) for k in FIGURES} for rung in RUNGS},
        "learned": {way: mean_figures(by.values()) for way, by in file["pieces"].items()},
        "seeds": {way: len(by) for way, by in file["pieces"].items()},
        "certify": len(rows), "machine": machine(),
    }, OUT)


if __name__ == "__main__":
    main()
