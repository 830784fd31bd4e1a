"""Captions per CPU second of the phrase extractor, compared with spaCy alone on the same model.

    python -m benchmarks.phrases_speed

Bare is `nlp.pipe` without entities, with its documents discarded. Full adds the entity recogniser
and everything else in the model, as when a model is loaded by name. Ours does what bare does and
also extracts chunks, heads, lemmas and expressions. All run in one process, on distinct captions,
so that caching cannot help; figures are medians of rounds in turn.

The model has the architecture of spaCy's small English one, the job's default, with random weights,
on which the cost does not depend. A model with a wider parser gains less from leaving out entities:
at twice the width, 1.55 instead of 1.95 times the full pipeline.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.measure import Figure

TITLE = "Phrases against bare spaCy"

_CAPTIONS = 4000
_ROUNDS = 3
_ENTITIES = (
    "CARDINAL DATE EVENT FAC GPE LANGUAGE LAW LOC MONEY NORP ORDINAL ORG PERCENT PERSON PRODUCT "
    "QUANTITY TIME WORK_OF_ART"
)
_DEPENDENCIES = "ROOT acl advmod amod aux cc compound conj det dobj nsubj nummod pobj prep punct"


def figures(folder: Path) -> list[Figure]:
    """Measure in a child process and return the figures."""
    output = measure.run(["-m", "benchmarks.phrases_speed", "--measure", str(folder)]).output
    result = json.loads(output.strip().splitlines()[-1])
    ours, bare, full = (result[name] for name in ("ours", "bare", "full"))
    return [
        Figure("ours", ours, "captions per CPU s"),
        Figure("bare nlp.pipe, no entities", bare, "captions per CPU s"),
        Figure("full pipeline, nlp.pipe", full, "captions per CPU s"),
        Figure("full pipeline, caption by caption", result["single"], "captions per CPU s"),
        Figure("lexicon", result["lexicon"], "captions per CPU s"),
        measure.at_least("ours : bare", ours / bare, "x", 0.9),
        measure.at_least("ours : full", ours / full, "x", 1.7),
        Figure("ours : full, caption by caption", ours / result["single"], "x"),
    ]


def rates(folder: Path) -> dict[str, float]:
    """Return captions per CPU second by variant."""
    import spacy

    from grounding.phrases.extractor import PhraseRules, load_extractor

    model = str(_random_model(folder / "random_model"))
    captions = _captions(_CAPTIONS)
    bare, full = spacy.load(model, exclude=["ner", "senter"]), spacy.load(model)
    _add_entities(full)
    ours = load_extractor(model, PhraseRules())
    lexicon = load_extractor("lexicon", PhraseRules())
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(captions),
        "bare": lambda: [None for _ in bare.pipe(captions)],
        "full": lambda: [None for _ in full.pipe(captions)],
        "single": lambda: [full(caption) for caption in captions[: _CAPTIONS // 8]],
        "lexicon": lambda: lexicon(captions),
    }
    shares = {"single": 1 / 8}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            started = time.process_time()
            way()
            seconds[name].append(time.process_time() - started)
    return {
        name: _CAPTIONS * shares.get(name, 1) / measure.median(turns)
        for name, turns in seconds.items()
    }


def _captions(count: int) -> list[str]:
    """Return distinct captions of eight to twenty words, generated from a seed."""
    dice = random.Random(0)
    things = _nouns()
    made: dict[str, None] = {}
    while len(made) < count:
        parts = [
            f"{dice.choice(_DETERMINERS)} {dice.choice(_ADJECTIVES)} {dice.choice(things)} "
            f"{dice.choice(_LINKS)}"
            for _ in range(dice.randint(1, 3))
        ]
        made[f"{' '.join(parts)} {dice.choice(_DETERMINERS)} {dice.choice(things)}."] = None
    return list(made)


def _nouns() -> list[str]:
    return [f"{stem}{end}" for stem in _STEMS for end in ("", "s", "er")]


_DETERMINERS = ("a", "the", "two", "some", "his", "another")
_ADJECTIVES = ("red", "small", "very old", "wooden", "striped", "smiling", "brown and white")
_LINKS = (
    "in", "on top of", "next to", "holding", "is standing near", "and", "with", "that looks like",
)  # fmt: skip
_STEMS = (
    "dog", "boat", "paint", "train", "garden", "bottle", "skate", "window", "bench", "horse",
    "phone", "plate", "sign", "mountain", "kite", "surf", "light", "rock", "tower", "print",
)  # fmt: skip


def _random_model(folder: Path) -> Path:
    import spacy
    from spacy.tokens import Doc
    from spacy.training import Example
    from spacy.util import fix_random_seed

    fix_random_seed(0)
    nlp: Any = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": _tok2vec()})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96, "upstream": "tok2vec"}
    nlp.add_pipe("tagger", config={"model": {"tok2vec": listener}}).add_label("NN")
    parser = nlp.add_pipe("parser", config={"model": _transitions("parser", listener)})
    for label in _DEPENDENCIES.split():
        parser.add_label(label)
    words = Doc(nlp.vocab, ["a", "dog"], tags=["NN", "NN"], heads=[1, 1], deps=["det", "ROOT"])
    nlp.initialize(lambda: [Example(nlp.make_doc("a dog"), words)])
    # An untrained tagger gives every word the same tag; chunks need a share of nouns.
    nlp.add_pipe("attribute_ruler").add([[{"LOWER": {"IN": _nouns()}}]], {"POS": "NOUN"})
    nlp.to_disk(folder)
    return folder


def _add_entities(nlp: Any) -> None:
    """Add spaCy's entity recogniser, which has vectors of its own, initialised at random."""
    from spacy.training import Example

    recogniser = nlp.add_pipe("ner", config={"model": _transitions("ner", _tok2vec())})
    for label in _ENTITIES.split():
        recogniser.add_label(label)
    text = nlp.make_doc("a dog")
    truth = Example.from_dict(text, {"entities": [(0, 5, "ORG")]})
    recogniser.initialize(lambda: [truth], nlp=nlp)


def _transitions(kind: str, tok2vec: dict[str, Any]) -> dict[str, Any]:
    return {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": kind,
        "extra_state_tokens": False,
        "hidden_width": 64,
        "maxout_pieces": 2,
        "use_upper": True,
        "tok2vec": tok2vec,
    }


def _tok2vec() -> dict[str, Any]:
    return {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": {
            "@architectures": "spacy.MultiHashEmbed.v2",
            "width": 96,
            "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
            "rows": [5000, 1000, 2500, 2500],
            "include_static_vectors": False,
        },
        "encode": {
            "@architectures": "spacy.MaxoutWindowEncoder.v2",
            "width": 96,
            "depth": 4,
            "window_size": 1,
            "maxout_pieces": 3,
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=Path, help="measure in this process, print JSON")
    options = parser.parse_args()
    if options.measure:
        sys.stdout.write(json.dumps(rates(options.measure)) + "\n")
        return
    with tempfile.TemporaryDirectory(prefix="groundwork-bench-") as folder:
        lines = measure.table(figures(Path(folder)))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
