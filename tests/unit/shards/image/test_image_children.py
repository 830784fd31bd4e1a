"""Decoding in child processes: the same result, and what kills or stalls one costs one picture."""

from __future__ import annotations

import os
import struct
import threading
import time

import pytest
from helpers.shards import pictures

from shards.image import ImageError, StoreSpec, check_cost, decode, probe, store
from shards.image.children import Decoders, store_in_child
from shards.image.cost import MAX_DECODE_BYTES, decode_bytes
from shards.outcomes import Outcome

PHOTO = pictures.photo()
SMALL = StoreSpec(image_size=32)


def outcome_of(decoders: Decoders, data: bytes, **options: float) -> Outcome:
    with pytest.raises(ImageError) as raised:
        decoders.store(data, SMALL, **options)
    return raised.value.outcome


def test_a_child_gives_the_same_picture_and_the_same_errors() -> None:
    decoders = Decoders()
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        data = pictures.encoded(PHOTO, kind)
        assert decoders.store(data, SMALL) == store(data, SMALL)
    assert outcome_of(decoders, b"<html>") == Outcome.NOT_AN_IMAGE
    cut = pictures.encoded(PHOTO, "PNG")[:-200]
    assert outcome_of(decoders, cut) == Outcome.DECODE_FAILED
    assert len(decoders._idle) == 1  # one process served all of them
    decoders.close()
    assert store_in_child(data, SMALL) == store(data, SMALL)


def test_a_decoder_that_takes_too_long_is_replaced() -> None:
    decoders = Decoders()
    data = pictures.encoded(PHOTO, "PNG")
    decoders.store(data, SMALL)
    first = decoders._idle[0]._process.pid
    os.kill(first, 19)  # stopped: it uses no CPU time, so only the clock can tell
    began = time.monotonic()
    assert outcome_of(decoders, data, limit_s=0.1) == Outcome.DECODER_CRASH
    assert time.monotonic() - began < 5
    assert decoders.store(data, SMALL) == store(data, SMALL)
    assert decoders._idle[0]._process.pid != first
    decoders.close()


def test_a_decoder_that_dies_costs_one_picture() -> None:
    decoders = Decoders()
    data = pictures.encoded(PHOTO, "PNG")
    decoders.store(data, SMALL)
    os.kill(decoders._idle[0]._process.pid, 9)
    with pytest.raises(ImageError, match="the decoder ended with -9") as raised:
        decoders.store(data, SMALL)
    assert raised.value.outcome == Outcome.DECODER_CRASH
    assert decoders.store(data, SMALL) == store(data, SMALL)
    decoders.close()


def test_after_an_interrupt_no_picture_gets_the_answer_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoders = Decoders()
    one, other = (pictures.encoded(PHOTO, kind) for kind in ("PNG", "WEBP"))
    decoders.store(one, SMALL)
    (child,) = decoders._idle

    def interrupted(limit_s: float) -> None:
        raise KeyboardInterrupt  # after the request was sent

    monkeypatch.setattr(child, "_answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decoders.store(one, SMALL)
    assert decoders.store(other, SMALL) == store(other, SMALL)
    assert child not in decoders._idle
    decoders.close()


def test_pictures_under_way_share_a_budget_of_memory() -> None:
    head = probe(pictures.encoded(PHOTO, "PNG"))
    assert head is not None
    decoders = Decoders(budget_bytes=2 * decode_bytes(head) + 1)
    used: list[int] = []
    inside = threading.Semaphore(0)

    def work() -> None:
        with decoders._memory(decode_bytes(head)):
            used.append(decoders._used_bytes)
            inside.acquire(timeout=10)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    assert len(used) == 2
    inside.release(5)
    for thread in threads:
        thread.join(10)
    assert len(used) == 5 and max(used) <= decoders._budget_bytes
    with decoders._memory(10 * decoders._budget_bytes):  # alone, nothing is too much
        pass


def webp_head(width: int, height: int) -> bytes:
    packed = (width - 1) | (height - 1) << 14
    chunk = b"VP8L" + struct.pack("<IB", 5, 0x2F) + struct.pack("<I", packed) + b"\0" * 9
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def png_head(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(
        ">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0
    )


def bmp_head(width: int, height: int, compression: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def jpeg_head(width: int, height: int, marker: int, components: int) -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, components) + b"\1\x11\0" * components
    return b"\xff\xd8\xff" + bytes([marker]) + struct.pack(">H", len(frame) + 2) + frame


COSTS = [
    (webp_head(5000, 5000), None),
    (webp_head(8000, 8000), "takes 1,024 MB to decode"),
    (png_head(6000, 6000), None),
    (png_head(8000, 8000), "takes 640 MB"),
    (png_head(1, 64_000_000), "the cap for a side"),
    (bmp_head(70_000, 1, 0), "the cap for a side"),
    (bmp_head(5000, 5000, 0), None),
    (bmp_head(5000, 5000, 1), "run-length bmp"),
    (bmp_head(500, 500, 2), None),
    (jpeg_head(8000, 8000, 0xC0, 3), None),
    (jpeg_head(8000, 8000, 0xC2, 4), "takes 768 MB"),
    (jpeg_head(6000, 6000, 0xC2, 3), None),
]


@pytest.mark.parametrize(("head", "refusal"), COSTS)
def test_what_a_picture_costs_is_told_by_its_head(head: bytes, refusal: str | None) -> None:
    seen = probe(head + b"\0" * 40)
    assert seen is not None
    if refusal is None:
        check_cost(seen)
        assert decode_bytes(seen) <= MAX_DECODE_BYTES
        return
    with pytest.raises(ImageError, match=refusal) as raised:
        check_cost(seen)
    assert raised.value.outcome == Outcome.TOO_MANY_PIXELS


def test_decoding_refuses_what_costs_too_much_before_it_asks_for_memory() -> None:
    for head in (webp_head(16_000, 4000), bmp_head(60_000, 1000, 1)):
        with pytest.raises(ImageError) as raised:
            decode(head + b"\0" * 4000)
        assert raised.value.outcome == Outcome.TOO_MANY_PIXELS
