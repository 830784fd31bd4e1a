"""The singular of an English noun by its ending, for heads where no lemmatizer is at hand."""

from __future__ import annotations

_IRREGULAR = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "mice": "mouse",
    "wolves": "wolf",
    "knives": "knife",
    "leaves": "leaf",
    "shelves": "shelf",
    "loaves": "loaf",
    "calves": "calf",
    "halves": "half",
    "scarves": "scarf",
    "lives": "life",
    "wives": "wife",
    "elves": "elf",
    "hooves": "hoof",
    "shoes": "shoe",
    "canoes": "canoe",
    "movies": "movie",
    "cookies": "cookie",
    "ties": "tie",
    "pies": "pie",
    "buses": "bus",
    "lens": "lens",
    "gas": "gas",
    "series": "series",
    "species": "species",
    "zombies": "zombie",
    "selfies": "selfie",
    "hoodies": "hoodie",
    "axes": "axe",
    "oxen": "ox",
    "potatoes": "potato",
    "tomatoes": "tomato",
    "heroes": "hero",
    "mangoes": "mango",
    "mosquitoes": "mosquito",
    "volcanoes": "volcano",
    "echoes": "echo",
}
_COMPOUNDS = ("men", "women", "children")


def singular(word: str) -> str:
    """Return the singular of a lower-case noun; a guess, but the same guess for the same word."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    for plural in _COMPOUNDS:  # firemen, grandchildren
        if word.endswith(plural) and len(word) > len(plural) + 2:
            return word[: -len(plural)] + _IRREGULAR[plural]
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is", "'s", "’s")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "zzes", "ches", "shes")):
        return word[:-2]
    return word[:-1]
