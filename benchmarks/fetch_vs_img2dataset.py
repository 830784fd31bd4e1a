"""CPU time per image from URL to shard, and image quality, compared with img2dataset 1.47.

    python -m benchmarks.fetch_vs_img2dataset [--images 1000] [--rounds 3]

Both fetch the same list over HTTP from a server process on this machine, with one connection per
image, and store images at 256 px keep_ratio and quality 95 in one process; runs alternate. Each
side warms up, then does a short and a long list in the same process. The figure is the difference
of the two, which excludes start-up: img2dataset's varies by more than a CPU second, as much as two
hundred of its images. PSNR compares the stored image with a full decode, float antialiased bicubic
and the same encoder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import measure
from benchmarks.measure import Figure

TITLE = "Fetch to shard against img2dataset"
IMAGES, ROUNDS = 1_000, 3
FEW = 50
GOAL = 1.15

_COMPARED = 250
"""Images whose PSNR is taken."""

Pixels = npt.NDArray[np.uint8]


def figures(folder: Path, images: int = IMAGES, rounds: int = ROUNDS) -> list[Figure]:
    """Measure and return the figures."""
    pictures = folder / "pictures"
    measure.run(["-m", "benchmarks.pictures", "make", str(pictures), str(images)])
    with _server(pictures) as base:
        few, many = (_list(folder / f"{n}.parquet", base, n) for n in (FEW, images))
        cpu_ms: dict[str, list[float]] = {"img2dataset": [], "torch": [], "pillow": []}
        rss = dict.fromkeys(cpu_ms, 0.0)
        for _ in range(rounds):
            for name, costs in cpu_ms.items():
                cost = _run(name, few, many, folder / name)
                costs.append(float(cost.output.splitlines()[-1]) / (images - FEW) * 1000)
                rss[name] = max(rss[name], cost.rss_mb)
    ms = {name: measure.median(costs) for name, costs in cpu_ms.items()}
    return [*_cost_figures(ms, rss), *_psnr_figures(folder, pictures)]


def _run(name: str, few: Path, many: Path, out: Path) -> measure.Cost:
    for folder in (out, out.with_name(f"{out.name}-warm"), out.with_name(f"{out.name}-few")):
        shutil.rmtree(folder, ignore_errors=True)
    paths = [str(few), str(many), str(out)]
    if name == "img2dataset":
        return measure.run(["-m", "benchmarks.peer_img2dataset", *paths])
    return measure.run(["-m", "benchmarks.our_fetch", *paths, name])


def _cost_figures(ms: dict[str, float], rss: dict[str, float]) -> list[Figure]:
    lines = [Figure(f"{name}: CPU per image", value, "ms") for name, value in ms.items()]
    lines.append(
        measure.at_least("torch : img2dataset", ms["img2dataset"] / ms["torch"], "x", GOAL)
    )
    lines.append(Figure("pillow : img2dataset", ms["img2dataset"] / ms["pillow"], "x"))
    lines += [Figure(f"{name}: peak memory", rss[name], "MB") for name in ms]
    return lines


def _psnr_figures(folder: Path, pictures: Path) -> list[Figure]:
    stored = {name: _stored(folder / name) for name in ("img2dataset", "torch", "pillow")}
    common = sorted(set.intersection(*map(set, stored.values())))
    values: dict[str, list[float]] = {name: [] for name in stored}
    for name in common[:_COMPARED]:
        wanted = _reference((pictures / name).read_bytes())
        for engine, images in stored.items():
            values[engine].append(_psnr(images[name], wanted))
    middle = {engine: float(np.median(psnr)) for engine, psnr in values.items()}
    low = {engine: float(np.percentile(psnr, 5)) for engine, psnr in values.items()}
    lines = [Figure("images both kept", len(common), "")]
    for label, value in (("median", middle), ("5th percentile", low)):
        for engine in ("img2dataset", "pillow"):
            lines.append(Figure(f"{engine}: PSNR, {label}", value[engine], "dB"))
        peer = value["img2dataset"]
        lines.append(measure.at_least(f"torch: PSNR, {label}", value["torch"], "dB", peer))
    return lines


@contextmanager
def _server(pictures: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.pictures", "serve", str(pictures)]
    with subprocess.Popen(command, cwd=measure.ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def _list(path: Path, base: str, count: int) -> Path:
    numbers = range(count)
    table = pa.table(
        {
            "URL": [f"{base}/{number:05d}" for number in numbers],
            "TEXT": [f"a photograph of place number {number}" for number in numbers],
        }
    )
    pq.write_table(table, path)
    return path


def _stored(out: Path) -> dict[str, bytes]:
    """Return the stored images of either tool's run by the last part of their URL."""
    shards = out / "shards"
    images = {}
    for path in (shards if shards.is_dir() else out).glob("*.tar"):
        with tarfile.open(path) as tar:
            files = {member.name: _content(tar, member) for member in tar.getmembers()}
        for name in files:
            if name.endswith(".json"):  # both tools store one with the URL beside every image
                url = json.loads(files[name])["url"]
                images[url.rpartition("/")[2]] = files[name.removesuffix("json") + "jpg"]
    return images


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None, member.name
    return file.read()


def _reference(body: bytes) -> Pixels:
    import torch

    from shards.image import StoreSpec, decode, encode

    rgb = decode(body)
    height, width = rgb.shape[:2]
    factor = min(1.0, 256 / min(width, height))
    size = [max(1, round(height * factor)), max(1, round(width * factor))]
    if size != [height, width]:
        planes = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float()
        resized = torch.nn.functional.interpolate(planes, size, mode="bicubic", antialias=True)
        rgb = resized[0].round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()
    return decode(encode(rgb, StoreSpec(quality=95)))


def _psnr(image: bytes, wanted: Pixels) -> float:
    from shards.image import decode

    actual = decode(image)
    assert actual.shape == wanted.shape, (actual.shape, wanted.shape)
    error = float(np.mean((actual.astype(np.float64) - wanted) ** 2))
    return 99.0 if error == 0 else 10 * float(np.log10(255**2 / error))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="groundwork-bench-") as folder:
        lines = measure.table(figures(Path(folder), options.images, options.rounds))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
