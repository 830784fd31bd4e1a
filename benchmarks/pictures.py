"""Photographs for the fetch benchmark, and a server for them; each runs in its own process.

    python -m benchmarks.pictures make FOLDER COUNT
    python -m benchmarks.pictures serve FOLDER

They are made from the photos that scikit-image ships: cropped at random, long side 400 to 2,000
pixels (log-uniform), noise of several scales, 92.5 % JPEG at quality 80 to 92 (a quarter
progressive), 5 % WebP, 2.5 % PNG; 2 % are beyond 6:1. The server answers from memory and closes
every connection, because in a crawl nearly every host is new. It prints its port and stops after
`_MAX_S`.
"""

from __future__ import annotations

import asyncio
import io
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

PHOTOS = (
    "astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg",
    "ihc.png", "motorcycle_left.png", "motorcycle_right.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
_SEED = 5
_MAX_S = 1800.0

Pixels = npt.NDArray[np.uint8]


def make(folder: Path, count: int) -> None:
    """Write `count` files, named by number; each depends only on its number."""
    folder.mkdir(parents=True, exist_ok=True)
    shipped = photos()
    for number in range(count):
        draw = np.random.default_rng([_SEED, number])
        made = picture(draw, shipped[int(draw.integers(len(shipped)))])
        (folder / f"{number:05d}").write_bytes(_encoded(draw, made))


def photos() -> list[Image.Image]:
    """Return the photos that scikit-image ships."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise ValueError("the benchmark's photos ship inside scikit-image: run `make setup`")
    folder = Path(spec.origin).with_name("data")
    paths = [folder / name for name in PHOTOS if (folder / name).exists()]
    return [Image.open(path).convert("RGB") for path in paths]


def picture(draw: np.random.Generator, photo: Image.Image) -> Image.Image:
    """Return a random crop of a photo at a random size, with noise."""
    long_side = round(float(np.exp(draw.uniform(np.log(400), np.log(2000)))))
    ratio = float(draw.uniform(6.2, 9)) if draw.random() < 0.02 else float(draw.uniform(1, 1.8))
    width, height = long_side, max(1, round(long_side / ratio))
    if draw.random() < 0.5:
        width, height = height, width
    share = min(photo.width / width, photo.height / height) * float(draw.uniform(0.5, 1))
    box_width, box_height = width * share, height * share
    left = float(draw.uniform(0, photo.width - box_width))
    top = float(draw.uniform(0, photo.height - box_height))
    box = (left, top, left + box_width, top + box_height)
    resized = photo.resize((width, height), Image.Resampling.BICUBIC, box=box)
    return _noisy(draw, resized)


def _noisy(draw: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Add noise of 1, 2, 4 and 8 pixels: enlarged photos alone would be too easy to decode."""
    pixels = np.asarray(picture, np.float32)
    height, width = pixels.shape[:2]
    for scale in (1, 2, 4, 8):
        size = (height // scale + 1, width // scale + 1)
        noise = draw.normal(0, 4, size).astype(np.float32)
        pixels = pixels + noise.repeat(scale, 0).repeat(scale, 1)[:height, :width, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _encoded(draw: np.random.Generator, picture: Image.Image) -> bytes:
    file, kind = io.BytesIO(), float(draw.random())
    quality = int(draw.integers(80, 93))
    if kind < 0.025:
        picture.save(file, "PNG")
    elif kind < 0.075:
        picture.save(file, "WEBP", quality=quality)
    else:
        picture.save(file, "JPEG", quality=quality, progressive=bool(draw.random() < 0.25))
    return file.getvalue()


async def serve(folder: Path) -> None:
    """Answer `GET /NAME` with the file of that name until the time is over."""
    bodies = {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            body = bodies.get(request.split(b" ", 2)[1].decode())
            status = "404 Not Found" if body is None else "200 OK"
            size = len(body or b"")
            head = f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + (body or b""))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the client may hang up at any time
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=256)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await asyncio.sleep(_MAX_S)


def main() -> None:
    """Make images or serve them."""
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "make":
        make(folder, int(sys.argv[3]))
    else:
        asyncio.run(serve(folder))


if __name__ == "__main__":
    main()
