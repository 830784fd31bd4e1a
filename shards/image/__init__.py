"""Images, decoded in one way everywhere: by download, detectors, trainer and report.

`probe` reads the first bytes, `decode` gives upright RGB, `store` gives what goes into a shard.
This module is the door; the work is in

- `sniff` (format and size from the head), `jpeg` (segments, metadata cut without loss),
- `orientation` (the EXIF tag), `pixels` (decoding),
- `resize` and `resize_torch` (sizes and resampling), `passthrough`, `recode` (storing),
- `cost` (memory and time, from the head), `children` (storing in child processes, for what
  strangers send).

Any bytes may be given to any of them; the only error that bytes can cause is `ImageError`.
"""

from shards.image.cost import check_cost
from shards.image.pixels import decode
from shards.image.recode import Stored, encode, store
from shards.image.sniff import probe
from shards.image.spec import PROFILES, StoreSpec
from shards.image.types import MAX_PIXELS, ImageError, Probe, check_size

__all__ = [
    "MAX_PIXELS",
    "PROFILES",
    "ImageError",
    "Probe",
    "StoreSpec",
    "Stored",
    "check_cost",
    "check_size",
    "decode",
    "encode",
    "probe",
    "store",
]
