"""Where an archive's files go: a local folder, or S3. A file is there as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from anomaly_app.errors import SinkError
from anomaly_app.settings.delivery import Archive as ArchiveSettings

ASIDE = "_unfinished"
"""Folder of files that are being written; readers of such archives pass over names with an underscore."""


class Storage(Protocol):
    """Files by their paths, with slashes, below one place. Its errors are :class:`SinkError`."""

    def names(self, folder: str) -> Sequence[str]:
        """Files of a folder; none if there is no such folder."""
        ...

    def read(self, path: str) -> bytes:
        """All of a file."""
        ...

    def publish(self, path: str, data: bytes) -> None:
        """Write a file: whole and for good when this returns, and at no time a part of it."""
        ...


def check_path(settings: ArchiveSettings) -> None:
    """Whether there can be such a storage; it is not opened.

    Raises:
        ValueError: the path is of a kind that is not known.
        ImportError: it needs a package that is missing.
    """
    address = urlsplit(settings.path) if "://" in settings.path else None
    if address is None:
        return
    if address.scheme != "s3":
        raise ValueError(f"{address.scheme}:// is not known: a folder or s3://bucket/prefix")
    if not address.netloc:
        raise ValueError("a bucket is needed: s3://bucket/prefix")
    if bool(settings.access_key.get_secret_value()) != bool(settings.secret_key.get_secret_value()):
        raise ValueError("access_key and secret_key are needed together")
    try:
        import pyarrow.fs  # noqa: F401  # whether it is there
    except ImportError:
        raise ImportError("S3 needs pyarrow: install anomaly-app[parquet]") from None


def open_storage(settings: ArchiveSettings) -> Storage:
    """The storage of an archive, without what a process that was killed had begun.

    Raises:
        ValueError: the path is of a kind that is not known.
        ImportError: it needs a package that is missing.
        SinkError: it cannot be written.
    """
    check_path(settings)
    if "://" in settings.path:
        return S3Storage(settings)
    return LocalStorage(Path(settings.path), settings.name)


class LocalStorage:
    """A folder. Files are written aside, brought to the disk, and renamed.

    Args:
        root: the folder, which is made if it is not there.
        name: of the archive; archives may share a folder.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._aside = root / ASIDE / name
        with _told():
            os.makedirs(self._aside, exist_ok=True)
            for left in os.listdir(self._aside):
                os.unlink(self._aside / left)

    def names(self, folder: str) -> Sequence[str]:
        """Files of a folder."""
        with _told():
            try:
                return os.listdir(self._root / folder)
            except FileNotFoundError:
                return ()

    def read(self, path: str) -> bytes:
        """All of a file."""
        with _told():
            return (self._root / path).read_bytes()

    def publish(self, path: str, data: bytes) -> None:
        """Write a file whole."""
        target = self._root / path
        aside = self._aside / f"{target.name}.tmp"
        with _told():
            handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(handle, view) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            os.makedirs(target.parent, exist_ok=True)
            os.replace(aside, target)
            # Folders may be new, so their names have to reach the disk too.
            folder = target.parent
            while True:
                _sync_folder(folder)
                if folder == self._root:
                    break
                folder = folder.parent


class S3Storage:
    """A bucket. An object appears when its upload is completed, so nothing has to be renamed.

    Uploads of a killed process are not visible; a rule of the bucket for incomplete multipart uploads removes them.

    Args:
        settings: with ``path`` as ``s3://bucket/prefix``; without keys those of the environment are used.
    """

    def __init__(self, settings: ArchiveSettings) -> None:
        from pyarrow import fs

        address = urlsplit(settings.path)
        options: dict[str, Any] = {
            "access_key": settings.access_key.get_secret_value(),
            "secret_key": settings.secret_key.get_secret_value(),
            "region": settings.region,
            "endpoint_override": settings.endpoint,
        }
        self._root = f"{address.netloc}{address.path}".rstrip("/")
        self._selector = fs.FileSelector
        self._is_file = fs.FileType.File
        with _told():
            self._files = fs.S3FileSystem(
                **{name: value for name, value in options.items() if value},
                background_writes=False, connect_timeout=10, request_timeout=60,
            )  # fmt: skip

    def names(self, folder: str) -> Sequence[str]:
        """Files of a folder."""
        with _told():
            found = self._files.get_file_info(self._selector(f"{self._root}/{folder}", allow_not_found=True))
            return [info.base_name for info in found if info.type == self._is_file]

    def read(self, path: str) -> bytes:
        """All of a file."""
        with _told(), self._files.open_input_stream(f"{self._root}/{path}", compression=None) as stream:
            return bytes(stream.readall())

    def publish(self, path: str, data: bytes) -> None:
        """Write a file whole."""
        with _told():
            stream = self._files.open_output_stream(f"{self._root}/{path}", compression=None)
            stream.write(data)
            stream.close()  # completes the upload; an error before it leaves no object


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:  # what pyarrow raises for S3 is one, too, without errno
        problem = error.strerror or (str(error).splitlines() or [type(error).__name__])[0]
        raise SinkError(f"the archive cannot be used: {problem}") from error
