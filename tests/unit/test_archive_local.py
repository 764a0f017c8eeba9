"""The directory archive: its files, what it syncs in which order, and what a damaged file or a full disk means."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from forebay_collector.archive import LocalArchive
from forebay_collector.archive.file import MAGIC
from forebay_collector.archive.names import batch_file, encode
from forebay_collector.archive.retention import Retention
from forebay_collector.errors import ArchiveDamaged, ArchiveFull, ArchiveUnavailable
from forebay_collector.ledger import Arrival, Ledger
from forebay_wire.stream import StreamName
from tests.receiving.batches import STREAM, chained


def archived(root: Path) -> tuple[LocalArchive, Path]:
    archive = LocalArchive(root)
    archive.write(chained(1)[0])
    archive.sync()
    return archive, root / batch_file(STREAM, 1, 1)


def test_a_file_is_the_batch_behind_a_short_preamble(tmp_path: Path) -> None:
    _, path = archived(tmp_path)
    batch = chained(1)[0]
    assert path.name == "000000000001.batch"
    assert path.read_bytes() == MAGIC + len(batch.header).to_bytes(4, "big") + batch.header + batch.payload


@pytest.mark.parametrize(
    "name", ["..", ".", "a/b", "/etc", "\\", "名", "%41", "a" * 255, "长" * 85, ".batch", "a\u202eb"]
)
def test_a_name_becomes_one_harmless_part_of_a_path(name: str) -> None:
    encoded = encode(name)
    assert encoded.isascii()
    assert "/" not in encoded
    assert not encoded.startswith(".")
    assert 0 < len(encoded) <= 200


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other magic", "long header", "another batch"])
def test_a_damaged_file_is_named_and_never_opened(tmp_path: Path, damage: str) -> None:
    archive, path = archived(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-10] ^= 4
    elif damage == "cut":
        del content[-1]
    elif damage == "empty":
        content.clear()
    elif damage == "other magic":
        content[:8] = b"FBBATCH9"
    elif damage == "long header":
        content[8:12] = b"\xff" * 4
    else:
        archive.write(chained(2)[1])
        archive.sync()
        content = bytearray((tmp_path / batch_file(STREAM, 1, 2)).read_bytes())
    path.write_bytes(content)
    with pytest.raises(ArchiveDamaged, match=path.name):
        archive.read(STREAM, 1, 1)


def test_left_over_temporary_files_are_removed_at_start(tmp_path: Path) -> None:
    archive, path = archived(tmp_path)
    archive.close()
    (tmp_path / ".incoming" / "7.batch").write_bytes(b"half")
    LocalArchive(tmp_path).close()
    assert list((tmp_path / ".incoming").iterdir()) == []
    assert path.exists()


class Fsyncs:
    """What was synced, by path, and whether the batch had its name by then."""

    def __init__(self, final: Path) -> None:
        self.final = final
        self.calls: list[tuple[str, bool]] = []

    def __call__(self, descriptor: int) -> None:
        self.calls.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), self.final.exists()))
        os.fsync(descriptor)


def test_a_batch_gets_its_name_after_its_bytes_and_its_folders_are_synced_after_that(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    final = root / batch_file(STREAM, 1, 1)
    fsyncs = Fsyncs(final)
    archive = LocalArchive(root, fsyncs)
    archive.write(chained(1)[0])
    assert fsyncs.calls == []
    archive.sync()
    (first, named), *rest = fsyncs.calls
    assert Path(first).parent.name == ".incoming"
    assert not named
    folders = {str(folder) for folder in (final.parent, *final.parent.parents) if folder.is_relative_to(root)}
    assert {path for path, _ in rest} == folders
    assert all(named for _, named in rest)
    archive.close()


def test_a_group_syncs_each_folder_once(tmp_path: Path) -> None:
    fsyncs = Fsyncs(tmp_path)
    archive = LocalArchive(tmp_path / "archive", fsyncs)
    batches = chained(40)
    archive.write(batches[0])
    archive.sync()
    fsyncs.calls.clear()
    for batch in batches[1:]:
        archive.write(batch)
    archive.sync()
    folders = [path for path, _ in fsyncs.calls if not path.endswith(".batch")]
    assert len(folders) == len(set(folders)) == 1
    assert len(fsyncs.calls) == 39 + 1
    archive.close()


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, ArchiveFull), (errno.EDQUOT, ArchiveFull), (errno.EIO, ArchiveUnavailable)]
)
def test_a_failed_sync_promises_nothing_and_the_batches_can_come_again(
    tmp_path: Path, number: int, kind: type[Exception]
) -> None:
    failing = True

    def fsync(descriptor: int) -> None:
        if failing:
            raise OSError(number, os.strerror(number))
        os.fsync(descriptor)

    archive = LocalArchive(tmp_path, fsync)
    for batch in chained(3):
        archive.write(batch)
    with pytest.raises(kind):
        archive.sync()
    archive.abort()
    assert list(archive.batches(STREAM)) == []
    failing = False
    for batch in chained(3):
        archive.write(batch)
    archive.sync()
    assert [archive.read(STREAM, 1, seq).seq for seq in (1, 2, 3)] == [1, 2, 3]
    archive.close()


def test_an_archive_whose_folder_vanished_says_so(tmp_path: Path) -> None:
    archive = LocalArchive(tmp_path / "archive")
    (tmp_path / "archive" / ".incoming").rmdir()
    with pytest.raises(ArchiveUnavailable):
        archive.write(chained(1)[0])
    archive.close()


def test_retention_removes_what_was_loaded_long_ago_and_nothing_else(tmp_path: Path) -> None:
    from datetime import timedelta

    now = 1_700_000_000_000_000
    archive, ledger = LocalArchive(tmp_path / "archive"), Ledger.open(tmp_path / "ledger.db", lambda: now)
    batches = chained(4)
    for batch in batches:
        archive.write(batch)
    archive.sync()
    ledger.batches.receive([Arrival("a1", STREAM, batch) for batch in batches])
    ledger.batches.mark_loaded(STREAM, 1, 2)
    removed: list[int] = []
    retention = Retention(archive, ledger, timedelta(days=30), removed.append)
    assert not retention.step()
    assert list(archive.batches(STREAM)) == [(1, 1), (1, 2), (1, 3), (1, 4)]
    now += 30 * 86_400_000_000 + 1
    ledger.batches.mark_loaded(STREAM, 1, 3)
    assert not retention.step()
    assert list(archive.batches(STREAM)) == [(1, 3), (1, 4)]
    assert len(ledger.batches.listing(stream=STREAM)) == 4
    retention.step()
    assert removed == [batches[0].size + batches[1].size]
    archive.close()
    ledger.close()


def test_names_of_streams_that_differ_never_share_a_folder() -> None:
    names = ["a", "A", "a%", "a%25", ".a", "%2Ea", "长" * 100, "长" * 101, "b" * 200, "b" * 201]
    assert len({encode(name) for name in names}) == len(names)
    assert len({batch_file(StreamName("d", "s", name), 1, 1) for name in names}) == len(names)
