"""The practice table of `docs/first-run.md`, and the small web that its URLs point to.

    python -m examples.first_run [--output FOLDER]

Writes `rows.csv` (columns `link` and `text`) into the folder and serves the images on this machine
until Ctrl-C. Some rows are faulty on purpose, as rows of the web are.
"""

from __future__ import annotations

import argparse
import csv
import threading
from pathlib import Path

from examples.corpus import encoded, fresh_folder, say
from examples.scenes import scene
from examples.web import PORT, Page, serve

NUM_SCENES = 24


def main() -> None:
    """Write the table and serve its images until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.first_run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("first-run"),
        help="is emptied first (default first-run)",
    )
    folder: Path = parser.parse_args().output
    fresh_folder(folder)
    pages: dict[str, Page] = {}
    with serve(pages, PORT) as base:
        table = rows(base, pages)
        with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("link", "text"), *table])
        say(f"{folder}/rows.csv has {len(table)} rows; serving their images at {base}")
        say("Leave this running and continue in another terminal. Ctrl-C stops it.")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            say("stopped")


def rows(base: str, pages: dict[str, Page]) -> list[tuple[str, str]]:
    """Fill in the pages and return the table: URL and caption of each row."""
    scenes = [scene(number, (640, 480), counts=(1, 2)) for number in range(NUM_SCENES)]
    for number, drawn in enumerate(scenes):
        pages[f"/{number}.jpg"] = Page(encoded(drawn.image(), "JPEG"))
    pages["/page.jpg"] = Page(b"<!DOCTYPE html><html><body>not an image</body></html>")
    pages["/busy.jpg"] = Page(b"try again later", 503)
    pages["/mine.jpg"] = Page(pages["/0.jpg"].body, headers={"X-Robots-Tag": "noai"})
    good = [(f"{base}/{number}.jpg", drawn.caption) for number, drawn in enumerate(scenes)]
    return [
        *good,
        (f"{base}/0.jpg?1", "IMG_2041.jpg"),
        (f"{base}/0.jpg?2", "sale"),
        (f"{base}/0.jpg?3", ""),
        (f"{base}/0.jpg?4", "buy now buy now buy now buy now buy now buy now"),
        ("ftp://example.com/archive.jpg", "a photograph from an old archive"),
        ("http://10.0.0.8/camera.jpg", "the view from a camera in the hall"),
        (f"{base}/1.jpg", "another caption for an image that is already there"),
        (f"{base}/gone.jpg", "a lighthouse on a rocky coast"),
        (f"{base}/page.jpg", "a wooden chair beside a window"),
        (f"{base}/busy.jpg", "a street market in the early morning"),
        (f"{base}/mine.jpg", "a painting that its owner keeps for people"),
    ]


if __name__ == "__main__":
    main()
