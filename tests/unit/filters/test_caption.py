"""Caption rules: a caption and the answer of one rule, scripts and extremes included."""

from __future__ import annotations

import pytest
from helpers.filters.filter_rows import answers, batch_of, row
from helpers.filters.reference_filters import REFERENCE

from filters.base import Filter
from filters.rules.caption import (
    CaptionAlnum,
    CaptionChars,
    CaptionPresent,
    CaptionRepetition,
    CaptionWords,
)
from filters.rules.caption_noise import (
    CaptionBoilerplate,
    CaptionContact,
    CaptionDate,
    CaptionFileName,
    CaptionHash,
    CaptionUrl,
)

COUNTED = [
    (CaptionPresent(), None, "caption_missing"),
    (CaptionPresent(), "", "caption_missing"),
    (CaptionPresent(), " ", None),
    # length in characters, not bytes
    (CaptionChars(), None, None),
    (CaptionChars(), "", None),
    (CaptionChars(), "hello", "caption_too_short"),
    (CaptionChars(), "hello!", None),
    (CaptionChars(), "猫が座る", "caption_too_short"),
    (CaptionChars(), "猫が座っている", None),
    (CaptionChars(), "🎉🎉🎉🎉🎉🎉", None),
    (CaptionChars(), "x" * 1000, None),
    (CaptionChars(), "x" * 1001, "caption_too_long"),
    (CaptionChars(), "ab " * 20_000, "caption_too_long"),
    # words
    (CaptionWords(), None, None),
    (CaptionWords(), "", None),
    (CaptionWords(), "two words", "caption_too_few_words"),
    (CaptionWords(), "now three words", None),
    (CaptionWords(), "blue-green algae", None),
    (CaptionWords(), "don't can't", "caption_too_few_words"),
    (CaptionWords(), "don\u2019t can\u2019t", "caption_too_few_words"),
    (CaptionWords(), "' ' '", "caption_too_few_words"),
    (CaptionWords(), "1 2 3", None),
    (CaptionWords(), "¡!¿? — …", "caption_too_few_words"),
    (CaptionWords(), "🎉 🎉 🎉", "caption_too_few_words"),
    (CaptionWords(), "猫在沙发", "caption_too_few_words"),
    (CaptionWords(), "猫在沙发上睡", None),
    (CaptionWords(), "iPhone手机 壳", "caption_too_few_words"),
    (CaptionWords(), "iPhone手机 壳黑色", None),
    (CaptionWords(), "แมวนอน", None),  # five letters are 2.5 words
    (CaptionWords(), "แมวนอนบน", None),
    (CaptionWords(), "قطة على الأريكة", None),
    (CaptionWords(), "می\u200cخواهم کتاب", "caption_too_few_words"),
    (CaptionWords(), "हिन्दी में", "caption_too_few_words"),
    (CaptionWords(), "고양이 두 마리", None),
    (CaptionWords(), "e\u0301te\u0301 ici", "caption_too_few_words"),
    (CaptionWords(), "a " * 256, None),
    (CaptionWords(), "a " * 257, "caption_too_many_words"),
    (CaptionWords(), "猫" * 512, None),
    (CaptionWords(), "猫" * 513, "caption_too_many_words"),
    (CaptionWords(), "word" * 15_000, "caption_too_few_words"),
    (CaptionWords(minimum=1, maximum=1), "one", None),
    (CaptionWords(minimum=1, maximum=1), "猫猫猫", "caption_too_many_words"),
    # share of letters and digits
    (CaptionAlnum(), None, None),
    (CaptionAlnum(), "", None),
    (CaptionAlnum(), "ab --", None),
    (CaptionAlnum(), "ab ---", "caption_symbols"),
    (CaptionAlnum(), "*** $$$ !!!", "caption_symbols"),
    (CaptionAlnum(), "🎉🎉🎉 ok", "caption_symbols"),
    (CaptionAlnum(), "हिन्दी", None),
    (CaptionAlnum(), "e\u0301e\u0301e\u0301 --", None),
    (CaptionAlnum(), "قطة على الأريكة", None),
    (CaptionAlnum(), "   ", "caption_symbols"),
    (CaptionAlnum(), "\u3000\u00a0", "caption_symbols"),
    (CaptionAlnum(minimum=0.0), "!!!", None),
    # repetition
    (CaptionRepetition(), None, None),
    (CaptionRepetition(), "", None),
    (CaptionRepetition(), "aaaaaaaaa", None),
    (CaptionRepetition(), "aaaaaaaaaa", None),
    (CaptionRepetition(), "aaaaaaaaaaa", "caption_repetition"),
    (CaptionRepetition(), "vector image vector image", "caption_repetition"),
    (CaptionRepetition(), "a red bicycle leaning on a wall", None),
    (CaptionRepetition(), "猫が座っている。猫が座っている。猫が座っている。", "caption_repetition"),
    (CaptionRepetition(), "0123456789 0123456789", None),  # 2 of 12 runs
    (CaptionRepetition(maximum=0.15), "0123456789 0123456789", "caption_repetition"),
    (CaptionRepetition(maximum=2 / 12), "0123456789 0123456789", None),
    (CaptionRepetition(), "ab" * 30_000, "caption_repetition"),
    (CaptionRepetition(maximum=1.0), "aaaaaaaaaaa", None),
]

FILE, URL, HASH, DATE = "caption_file_name", "caption_url", "caption_hash", "caption_date"

WHOLE = [
    (CaptionFileName(), "my cat on the sofa.jpg", FILE),
    (CaptionFileName(), "PHOTO.JPEG", FILE),
    (CaptionFileName(), "IMG_1234", FILE),
    (CaptionFileName(), "DSC00012 copy", FILE),
    (CaptionFileName(), "Screenshot 2019-03-04 at 10.11.12", FILE),
    (CaptionFileName(), "Screen Shot 2", FILE),
    (CaptionFileName(), "P1020304", FILE),
    (CaptionFileName(), "image 12", FILE),
    (CaptionFileName(), "Image 12 of a cat", None),
    (CaptionFileName(), "photo of IMG_1234.jpg in a frame", None),
    (CaptionFileName(), "how to open a jpg", None),
    (CaptionFileName(), "scanner", None),
    (CaptionUrl(), "https://example.org/a/b?c=d", URL),
    (CaptionUrl(), "www.example.org", URL),
    (CaptionUrl(), "Example.com", URL),
    (CaptionUrl(), "tutorialblog.org, example.de/x", URL),
    (CaptionUrl(), "http://a.org http://b.org", URL),
    (CaptionUrl(), "shoes from example.com", None),
    (CaptionUrl(), "https://example.org/a cat.jpg", None),
    (CaptionUrl(), "Node.js", None),
    (CaptionUrl(), "https://", None),
    (CaptionHash(), "d41d8cd98f00b204e9800998ecf8427e", HASH),
    (CaptionHash(), "123E4567-E89B-12D3-A456-426614174000", HASH),
    (CaptionHash(), "20190405_123456", HASH),
    (CaptionHash(), "#123456", HASH),
    (CaptionHash(), "12345678 n 2", HASH),
    (CaptionHash(), "12345", None),
    (CaptionHash(), "Lot 123456 in oak", None),
    (CaptionHash(), "deadbeef", None),
    (CaptionDate(), "2019-05-12", DATE),
    (CaptionDate(), "12.05.19 10:30", DATE),
    (CaptionDate(), "March 5th, 2016", DATE),
    (CaptionDate(), "Monday 5 of September 2011", DATE),
    (CaptionDate(), "21st of May", DATE),
    (CaptionDate(), "5 JAN 2001 at 10 pm", DATE),
    (CaptionDate(), "2019年5月12日", DATE),
    (CaptionDate(), "May Day parade", None),
    (CaptionDate(), "May", None),
    (CaptionDate(), "Sun and Moon", None),
    (CaptionDate(), "12 monkeys", None),
    (CaptionDate(), "July 4th fireworks", None),
    (CaptionBoilerplate(), "Image for", "caption_boilerplate"),
    (CaptionBoilerplate(), "picture of ...", "caption_boilerplate"),
    (CaptionBoilerplate(), "Thumbnail for:", "caption_boilerplate"),
    (CaptionBoilerplate(), "Picture of a cat", None),
    (CaptionBoilerplate(), "the image for", None),
    (CaptionContact(), "write to jane.doe+web@mail.example.org today", "caption_email"),
    (CaptionContact(), "(INFO@EXAMPLE.COM)", "caption_email"),
    (CaptionContact(), "Dinner @ Charlecote Park", None),
    (CaptionContact(), "143546559@N02", None),
    (CaptionContact(), "logo@2x.png", None),
    (CaptionContact(), "Deals: @Dockers.com", None),
    (CaptionContact(), "Computer repair 402-505-6600", "caption_phone"),
    (CaptionContact(), "call (415) 555-2671 now", "caption_phone"),
    (CaptionContact(), "1-800-155-0199", None),  # exchanges begin with 2 to 9
    (CaptionContact(), "1-800-555-2199", "caption_phone"),
    (CaptionContact(), "Reservations: +30 697 435 0179", "caption_phone"),
    (CaptionContact(), "+49 (0)30 901820", "caption_phone"),
    (CaptionContact(), "Tel: 020 7946 0958", "caption_phone"),
    (CaptionContact(), "Call @ 02261054600 for price", "caption_phone"),
    (CaptionContact(), "ISBN 978-0-306-40615-7", None),
    (CaptionContact(), "ISBN-10 0-306-40615-2", None),
    (CaptionContact(), "9780306406157", None),
    (CaptionContact(), "2019-05-12 10:30:00", None),
    (CaptionContact(), "12.05.2019 - 14.05.2019", None),
    (CaptionContact(), "Stock photo 415-555-2671-883", None),
    (CaptionContact(), "Part no. 1415-555-26712", None),
    (CaptionContact(), "SKU 4155552671", None),
    (CaptionContact(), "phone 128GB 2019", None),
    (CaptionContact(), "4K 3840x2160 +8 dB", None),
    (CaptionContact(), "$415.555.2671", None),
]


@pytest.mark.parametrize(("rule", "caption", "expected"), [*COUNTED, *WHOLE])
def test_answer(rule: Filter, caption: str | None, expected: str | None) -> None:
    given = row(caption=caption)
    assert answers(rule, batch_of([given])) == [expected]
    parameters = {name: getattr(rule, name) for name in rule.parameters()}
    assert REFERENCE[rule.name](given, **parameters) == expected, "the reference disagrees"


@pytest.mark.parametrize("rule", [CaptionWords(), CaptionAlnum(), CaptionRepetition()])
def test_an_array_slice_and_nulls_count_their_own_rows(rule: Filter) -> None:
    captions = ["!!! *** !!!", None, "now three words", "é" * 30, "", "a red bicycle on a wall"]
    whole = batch_of([row(caption=c) for c in captions])
    assert answers(rule, whole.slice(2, 3)) == answers(rule, whole)[2:5]


def test_giant_captions_stay_in_bounds() -> None:
    rows = [row(caption=f"{i} " + "spam eggs " * 6000) for i in range(20)]
    assert answers(CaptionWords(), batch_of(rows)) == ["caption_too_many_words"] * 20
    assert answers(CaptionRepetition(), batch_of(rows)) == ["caption_repetition"] * 20


@pytest.mark.parametrize(
    ("rule", "values", "words"),
    [
        (CaptionWords, {"minimum": 5, "maximum": 4}, "minimum <= maximum"),
        (CaptionChars, {"minimum": -1}, "minimum <= maximum"),
        (CaptionAlnum, {"minimum": 1.5}, "share from 0 to 1"),
        (CaptionRepetition, {"maximum": float("nan")}, "share from 0 to 1"),
    ],
)
def test_a_senseless_parameter_is_refused(
    rule: type[Filter], values: dict[str, float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        rule(**values)
