"""A small spaCy pipeline for the captions of the rendered scenes, built in seconds, offline.

    python -m examples.demo_spacy FOLDER

Goes in: only the grammar of `examples.scenes`. Comes out: a directory that any spaCy can load,
because it holds only spaCy's own components: an attribute ruler that knows the words, and a tiny
parser trained on the grammar with a fixed seed. Every worker would have to import custom components
before it loads the directory.

The pipeline parses these captions and no others. A real run needs a real model.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from examples.scenes import COLOURS, SHAPES, scene

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

NAME = "groundwork_demo"

_CAPTIONS = 240
_ROUNDS = 12
_BATCH = 24

_NOUNS = (*SHAPES, "paper", "background", "scene")
_ADJECTIVES = (*COLOURS, "plain", "light")
_WORDS = {
    "DET": ("a", "an", "another"),
    "ADJ": _ADJECTIVES,
    "ADP": ("to", "beside", "with", "on"),
    "ADV": ("next", "together"),
    "PUNCT": (",",),
}
_TAGS = {"DET": "DT", "ADJ": "JJ", "ADP": "IN", "ADV": "RB", "PUNCT": ",", "NOUN": "NN"}


def build(folder: Path) -> Path:
    """Write the pipeline into a folder and return it."""
    import spacy
    from thinc.api import fix_random_seed

    fix_random_seed(0)
    nlp = spacy.blank("en", meta={"name": NAME, "version": "1.0.0"})
    nlp.add_pipe("parser", config={"model": _parser_model(), "min_action_freq": 1})
    captions = [scene(seed, counts=(1, 2, 3), twins=0.2).caption for seed in range(_CAPTIONS)]
    examples = [_example(nlp, caption) for caption in captions]
    _train(nlp, examples)
    _add_words(nlp)  # last: initialising a pipeline clears a ruler
    folder.parent.mkdir(parents=True, exist_ok=True)
    nlp.to_disk(folder)
    return folder


def _add_words(nlp: Language) -> None:
    """Set parts of speech by word; every word outside the grammar counts as a noun."""
    ruler: Any = nlp.add_pipe("attribute_ruler")
    ruler.add([[{}]], {"TAG": "NN", "POS": "NOUN"})
    ruler.add([[{"IS_DIGIT": True}]], {"TAG": "CD", "POS": "NUM"})
    ruler.add([[{"LOWER": "drawn"}]], {"TAG": "VBN", "POS": "VERB"})
    for pos, words in _WORDS.items():
        ruler.add([[{"LOWER": {"IN": list(words)}}]], {"TAG": _TAGS[pos], "POS": pos})


def _parser_model() -> dict[str, Any]:
    return {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "parser",
        "extra_state_tokens": False,
        "hidden_width": 32,
        "maxout_pieces": 2,
        "use_upper": True,
        "tok2vec": {
            "@architectures": "spacy.HashEmbedCNN.v2",
            "width": 32,
            "depth": 2,
            "embed_size": 200,
            "window_size": 1,
            "maxout_pieces": 2,
            "subword_features": False,
            "pretrained_vectors": None,
        },
    }


def _train(nlp: Language, examples: list[Example]) -> None:
    optimizer = nlp.initialize(lambda: examples)
    dice = random.Random(0)
    for _ in range(_ROUNDS):
        dice.shuffle(examples)
        for i in range(0, len(examples), _BATCH):
            nlp.update(examples[i : i + _BATCH], sgd=optimizer)


def _example(nlp: Language, caption: str) -> Example:
    from spacy.tokens import Doc
    from spacy.training import Example

    words = [token.text for token in nlp.make_doc(caption)]
    arcs = dict(_arcs(words))
    truth = Doc(
        nlp.vocab,
        words=words,
        spaces=[token.whitespace_ == " " for token in nlp.make_doc(caption)],
        heads=[arcs[i][0] for i in range(len(words))],
        deps=[arcs[i][1] for i in range(len(words))],
    )
    return Example(nlp.make_doc(caption), truth)


def _arcs(words: list[str]) -> Iterator[tuple[int, tuple[int, str]]]:
    """Yield (word, (head, label)) for a caption of the grammar.

    The first shape is the root, and where it is drawn belongs to it; the number of the scene is a
    separate sentence, so that no expression includes it.
    """
    nouns = [i for i, word in enumerate(words) if word in _NOUNS]
    root, last = nouns[0], nouns[-1]
    preposition = root
    for i, word in enumerate(words):
        if i in (root, last):
            yield i, (i, "ROOT")
        elif i in nouns:
            yield i, (preposition, "pobj")
        elif word in (*_WORDS["DET"], *_ADJECTIVES):
            yield i, (next(n for n in nouns if n > i), "amod" if word in _ADJECTIVES else "det")
        elif word == "drawn":
            yield i, (root, "acl")
        elif word in _WORDS["ADV"]:
            yield i, (root, "advmod")
        elif word in _WORDS["ADP"]:
            preposition = i
            goes_on = words[i - 1] in ("next", "drawn")
            yield i, (i - 1 if goes_on else root, "prep")
        elif word == ",":
            yield i, (root, "punct")
        else:
            yield i, (last, "nummod")


def main() -> None:
    """Build the pipeline into the given folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    sys.stdout.write(f"{build(parser.parse_args().folder)}\n")


if __name__ == "__main__":
    main()
