"""What the tests of other runners and stores share: moved metadata, broken metadata, copies."""

from __future__ import annotations

from pathlib import Path

from helpers.pipelines.jobs import World

from pipelines.metadata.filesystems import filesystem_of


def broken_input(world: World, folder: Path) -> tuple[str, Path]:
    """Return `--input` of a copy with a whole footer and a broken first page, and the copy."""
    copy = folder / "broken.parquet"
    data = bytearray((world.folder / "coyo700m-0.parquet").read_bytes())
    data[4:60] = b"\xff" * 56
    copy.write_bytes(data)
    return f"--input=coyo700m={copy}", copy


def flags_elsewhere(world: World, bucket: str, *more: str) -> list[str]:
    """Upload the metadata; return the job's flags with input globs and output in a bucket."""
    filesystem, inner = filesystem_of(f"{bucket}/metadata")
    for path in world.folder.glob("*.parquet"):
        filesystem.put_file(str(path), f"{inner}/{path.name}")
    flags = world.flags(Path("/OUT"), *more)
    moved = [flag.replace(f"{world.folder}/", f"{bucket}/metadata/") for flag in flags]
    return [flag.replace("=/OUT", f"={bucket}/run") for flag in moved]


def fetched_copy(url: str, folder: Path) -> Path:
    """Copy a run out of an object store, so that it can be compared with a local one."""
    filesystem, inner = filesystem_of(url)
    inner = inner.rstrip("/") + "/"
    for name in filesystem.find(inner):
        target = folder / name.removeprefix(inner)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(filesystem.cat_file(name))
    return folder
