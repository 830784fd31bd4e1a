"""Real hostile and odd files, decoded in a process whose memory is bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.shared_data import shared_data

MEMORY_BYTES = 700 << 20
"""Far below the 12.9 GB that the largest bomb among the files asks for."""

PROGRAM = """
import json, resource, sys, warnings
from pathlib import Path
from shards.image import ImageError, decode
import PIL.AvifImagePlugin, PIL.GifImagePlugin, PIL.PngImagePlugin, PIL.WebPImagePlugin

warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
results = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        results[path.name] = list(decode(path.read_bytes()).shape)
    except ImageError as error:
        results[path.name] = error.outcome
print(json.dumps(results))
"""

REFUSED = {
    "broken.png": "decode_failed",
    "broken_data_stream.png": "decode_failed",
    "decompression_bomb.gif": "too_many_pixels",
    "decompression_bomb.ico": "format_not_supported",
    "hopper.heif": "format_not_supported",
    "hopper.ico": "format_not_supported",
    "hopper.psd": "format_not_supported",
    "hopper.qoi": "format_not_supported",
    "hopper.tar": "not_an_image",
    "hopper.tif": "format_not_supported",
    "hopper_16bit.pgm": "format_not_supported",
    # Its header is odd, and its picture is in shreds: libjpeg finds 1,214 bytes too many in it.
    "hopper_bad_exif.jpg": "decode_failed",
    "png_decompression_dos.png": "decode_failed",
    "swords.svg": "format_not_supported",
    "truncated_end_chunk.png": "decode_failed",
    "truncated_image.png": "decode_failed",
    "truncated_jpeg.jpg": "decode_failed",
    "zero_height.j2k": "format_not_supported",
    "zero_width.gif": "decode_failed",
}
READ = {
    "hopper.jpg": [128, 128, 3],
    "orientation_rectangle.jpg": [2, 1, 3],
    "pil_sample_cmyk.jpg": [100, 100, 3],
    "rot3mir1.avif": [427, 640, 3],
    "sugarshack.mpo": [480, 640, 3],
    "truncated_app14.jpg": [100, 100, 3],
    "icc-after-SOF.jpg": [10, 10, 3],
}


def test_odd_files_in_bounded_memory() -> None:
    data = shared_data()
    if data is None or not (data / "oddfiles").is_dir():
        pytest.skip("the folder of odd files is not here")
    arguments = [sys.executable, "-c", PROGRAM, str(data / "oddfiles"), str(MEMORY_BYTES)]
    ran = subprocess.run(
        arguments, capture_output=True, cwd=ROOT, timeout=120, check=False, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    results = json.loads(ran.stdout)
    expected = REFUSED | READ
    assert {name: results[name] for name in expected} == expected
    unsupported = {".tif", ".tiff", ".jp2"}
    others = {n: r for n, r in results.items() if n not in expected}
    assert all((type(r) is str) == (Path(n).suffix in unsupported) for n, r in others.items())
