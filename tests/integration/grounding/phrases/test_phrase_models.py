"""Phrases by pipelines on disk: the demo's own, and a small English model where there is one."""

from __future__ import annotations

import threading

import pytest
from helpers.grounding.hand_parses import demo_pipeline
from helpers.shared_data import shared_data

from examples import demo_spacy
from examples.scenes import scene
from grounding.phrases.extractor import DropReason, PhraseRules, load_extractor
from grounding.phrases.spacy_chunker import load_chunker

spacy = pytest.importorskip("spacy")


def model():
    folder = shared_data()
    if folder is None or not (folder / "models" / "en_ewt_sm").is_dir():
        pytest.skip("the shared data with models/en_ewt_sm is not here")
    return str(folder / "models" / "en_ewt_sm")


def texts(caption, phrases):
    return [caption[p.start : p.end] for p in phrases]


def test_the_demo_pipeline_reads_every_scene():
    extract = load_extractor(demo_pipeline(), PhraseRules())
    scenes = [scene(seed) for seed in range(1000, 1400)]

    for each, phrases in zip(scenes, extract([s.caption for s in scenes]), strict=True):
        *shapes, ground, number = texts(each.caption, phrases)
        assert shapes == [shape.phrase for shape in each.shapes]
        assert ground in ("plain paper", "a light background", "paper")
        assert number == "scene"
        assert phrases[0].expr_end == each.caption.index(", scene")
        assert [p.head_lemma for p in phrases[: len(shapes)]] == [s.kind for s in each.shapes]


def test_the_demo_pipeline_is_the_same_every_time(tmp_path):
    made = demo_spacy.build(tmp_path / "again")
    ours, again = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (type(made)(demo_pipeline()), made)
    )
    assert ours == again


def test_one_pipeline_per_process_whatever_the_rules():
    first = load_extractor(demo_pipeline(), PhraseRules())
    second = load_extractor(demo_pipeline(), PhraseRules(abstract=True))
    assert first is load_extractor(demo_pipeline(), PhraseRules())
    assert first.fingerprint != second.fingerprint and first.name == second.name
    assert load_chunker(demo_pipeline(), "en") is load_chunker(demo_pipeline(), "en")


def test_threads_share_an_extractor():
    extract = load_extractor(demo_pipeline(), PhraseRules())
    captions = [scene(seed).caption for seed in range(300)]
    expected, found = extract(captions), [[] for _ in range(4)]
    workers = [
        threading.Thread(target=lambda each=each: each.extend(extract(captions))) for each in found
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [expected] * 4


def test_batches_do_not_matter():
    extract = load_extractor(model(), PhraseRules())
    captions = [scene(seed).caption for seed in range(40)] + ["Two women ride brown horses."] * 2
    assert extract(captions) == [extract([caption])[0] for caption in captions]


def test_the_small_english_model():
    extract = load_extractor(model(), PhraseRules())
    assert extract.name == "spacy:en_ewt_sm-0.1.0/noun_chunks"
    caption = "Two women in red dresses hold an umbrella."
    phrases = extract([caption])[0]
    assert texts(caption, phrases) == ["Two women", "red dresses", "an umbrella"]
    assert [p.head_lemma for p in phrases] == ["woman", "dress", "umbrella"]
    assert caption[: phrases[0].expr_end] == "Two women in red dresses"


def test_lemmas_are_those_of_the_whole_pipeline():
    captions = ["Mice ran past geese, wolves and two buses", "the knives of the fishermen"]
    nlp, extract = spacy.load(model()), load_extractor(model(), PhraseRules())
    for caption, phrases in zip(captions, extract(captions), strict=True):
        lemmas = {token.idx: token.lemma_.lower() for token in nlp(caption)}
        assert [p.head_lemma for p in phrases] == [lemmas[p.head_start] for p in phrases]


@pytest.mark.parametrize("name", ["lexicon", "demo", "model"])
def test_five_thousand_words(name):
    path = {"lexicon": lambda: "lexicon", "demo": demo_pipeline, "model": model}[name]()
    caption = " ".join(["a brown dog beside a café 😀"] * 715)
    phrases = load_extractor(path, PhraseRules())([caption])[0]
    assert {"a brown dog"} <= set(texts(caption, phrases))
    assert DropReason.TOO_LONG not in {p.drop_reason for p in phrases}


def test_memory_of_words_ends_with_the_call():
    extract = load_extractor(demo_pipeline(), PhraseRules())
    strings = load_chunker(demo_pipeline(), "en")._nlp.vocab.strings
    extract(["a dog"])
    before = len(strings)
    extract([f"word{i} next to other{i}" for i in range(1000)])
    assert len(strings) - before < 100


def test_a_missing_model_says_what_to_type():
    with pytest.raises(ValueError, match="python -m spacy download en_no_such_model"):
        load_extractor("en_no_such_model", PhraseRules())


def test_a_directory_that_is_no_model_is_named(tmp_path):
    with pytest.raises(
        ValueError, match=rf"{tmp_path} is not a spaCy model for chunks: it has no meta\.json"
    ):
        load_extractor(str(tmp_path), PhraseRules())
    (tmp_path / "meta.json").write_text("{}")
    (tmp_path / "config.cfg").write_text("[nlp]\n")
    with pytest.raises(ValueError, match=f"{tmp_path} is not a spaCy model that can be loaded"):
        load_extractor(str(tmp_path), PhraseRules())


def test_a_model_of_another_language_is_refused():
    with pytest.raises(ValueError, match="reads 'en', captions are 'zh'"):
        load_extractor(demo_pipeline(), PhraseRules(language="zh"))


def test_a_model_without_a_parser_is_refused(tmp_path):
    spacy.blank("en").to_disk(tmp_path)
    with pytest.raises(ValueError, match="has no parser: its pipeline is empty"):
        load_extractor(str(tmp_path), PhraseRules())


def test_a_language_without_noun_chunks_is_refused(tmp_path):
    nlp = spacy.blank("pl")  # spaCy has no rule for it
    nlp.add_pipe("parser").add_label("nsubj")
    nlp.initialize(lambda: [demo_spacy._example(nlp, scene(0).caption)])
    nlp.to_disk(tmp_path)
    with pytest.raises(ValueError, match="no noun chunks for language 'pl'"):
        load_extractor(str(tmp_path), PhraseRules(language="pl"))
