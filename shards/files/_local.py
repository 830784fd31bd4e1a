"""Local disk behind `shards.files.store`: absolute paths in, durable and atomic changes out.

A file appears under its name by one rename or one link of a complete, synced temporary
file in the same folder, so that a kill leaves the old content or the new and at most an
orphan whose name begins with a dot.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat as stat_module
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

_NO_LINKS = frozenset(
    {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EXDEV, errno.EMLINK}
)
"""What `os.link` answers where links are unsupported, cross devices or are used up."""

_NOT_WRITABLE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
)


class LocalFiles:
    """File operations on absolute local paths, as `shards.files.store.Store` documents them."""

    def stat(self, path: str) -> tuple[int, float] | None:
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return (status.st_size, status.st_mtime) if stat_module.S_ISREG(status.st_mode) else None

    def list(self, folder: str) -> Iterator[tuple[str, int, float]]:
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in names:
            status = self.stat(os.path.join(folder, name))
            if status is not None:  # a folder, or deleted since the listing
                yield name, *status

    def folders(self, folder: str) -> Iterator[str]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        yield from (entry.name for entry in entries if entry.is_dir())

    def read(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def read_range(self, path: str, start: int, length: int) -> bytes:
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(length)

    def open(self, path: str) -> BinaryIO:
        return open(path, "rb")

    def write(self, path: str, data: bytes) -> None:
        with _writing(path), _temporary(path) as temporary:
            _write_synced(temporary, data)
            os.replace(temporary, path)

    def create(self, path: str, data: bytes) -> bool:
        with _writing(path):
            if os.path.exists(path):
                return False
            with _temporary(path) as temporary:
                _write_synced(temporary, data)
                try:
                    return _link(temporary, path)
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
            return _create_without_links(path, data)

    def put(self, local_file: str, path: str) -> None:
        with _writing(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _sync(local_file)
            try:
                os.replace(local_file, path)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _copy(local_file, path)
                os.unlink(local_file)
            _sync(os.path.dirname(path))

    def publish(self, source: str, path: str) -> None:
        if not os.path.exists(source):
            raise FileNotFoundError(errno.ENOENT, "nothing to publish under this name", source)
        with _writing(path), _temporary(path) as temporary:
            try:
                os.link(source, temporary)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                _copy(source, path)
            else:
                # Trap: renaming one link over another of the same file does nothing at all,
                # so the temporary name may survive; `_temporary` removes it.
                os.replace(temporary, path)

    def delete(self, path: str) -> None:
        with _writing(path), suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)

    def delete_tree(self, folder: str) -> None:
        with _writing(folder):
            while os.path.lexists(folder):
                # Another launcher's cleaning may take entries away under this one.
                with suppress(FileNotFoundError):
                    shutil.rmtree(folder)


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """Turn what a user can mend into a ValueError that says how; name the path in the rest."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _NOT_WRITABLE:
            raise ValueError(
                f"{path}: cannot be written ({error.strerror}); "
                "give another output directory or change its permissions"
            ) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(
                error.errno, f"{error.strerror}; free space and run the same command again", path
            ) from error
        raise


@contextmanager
def _temporary(path: str) -> Iterator[str]:
    """Yield an unused name beside `path`, made durable with its folder, removed if left over."""
    folder, base = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{base}.{secrets.token_hex(8)}")
    try:
        yield temporary
        _sync(folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _link(source: str, path: str) -> bool:
    try:
        os.link(source, path)
    except FileExistsError:
        return False
    return True


def _create_without_links(path: str, data: bytes) -> bool:
    """Create on file systems without hard links (FAT, some network mounts).

    Trap: one winner still, but a kill inside these few microseconds leaves a short file.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    with open(handle, "wb") as file:
        file.write(data)
        _flush(file)
    _sync(os.path.dirname(path))
    return True


def _copy(source: str, path: str) -> None:
    """Copy across file systems, in one step as far as a reader of `path` can see."""
    with _temporary(path) as temporary:
        with open(source, "rb") as incoming, open(temporary, "xb") as file:
            shutil.copyfileobj(incoming, file, 1 << 20)
            _flush(file)
        os.replace(temporary, path)


def _write_synced(path: str, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        _flush(file)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync(path: str) -> None:
    """Make a file's content, or a folder's names, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems have no sync for folders; their server orders the names.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(handle)
