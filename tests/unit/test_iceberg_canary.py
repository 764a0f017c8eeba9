"""What Forebay uses of pyiceberg beyond its documented interface. When one of these fails, read the hook's new source
before anything else: the mirror's correctness rests on it."""

from __future__ import annotations

import importlib.metadata
import inspect

import pytest
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestWriter,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.schema import make_compatible_name
from pyiceberg.table.delete_file_index import PATH_FIELD_ID
from pyiceberg.typedef import Record

from forebay_collector.platform.iceberg.snapshot import _DeleteManifestWriter


def test_the_version_is_the_one_that_the_hooks_were_read_in() -> None:
    assert importlib.metadata.version("pyiceberg").split(".")[:2] == ["0", "12"]


def test_manifest_writers_take_the_arguments_that_are_given_by_place() -> None:
    assert list(inspect.signature(ManifestWriterV2).parameters) == [
        "spec",
        "schema",
        "output_file",
        "snapshot_id",
        "avro_compression",
    ]
    assert list(inspect.signature(write_manifest_list).parameters) == [
        "format_version",
        "output_file",
        "snapshot_id",
        "parent_snapshot_id",
        "sequence_number",
        "avro_compression",
    ]


@pytest.mark.parametrize("method", ["add", "delete", "existing", "to_manifest_file"])
def test_manifest_writers_write_added_deleted_and_existing_entries(method: str) -> None:
    assert callable(getattr(ManifestWriter, method))


def test_the_content_of_a_manifest_is_overridable_where_it_is_overridden() -> None:
    assert isinstance(inspect.getattr_static(ManifestWriterV2, "_meta"), property)
    assert '"content": "data"' in inspect.getsource(ManifestWriterV2)
    assert _DeleteManifestWriter.content(None) == ManifestContent.DELETES  # type: ignore[arg-type]


def test_a_data_file_is_built_from_names_and_its_spec_is_assigned_afterwards() -> None:
    built = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path="/x",
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=1,
        file_size_in_bytes=1,
    )
    built.spec_id = 0
    assert (built.content, built.file_path, built.record_count, built.spec_id) == (
        DataFileContent.POSITION_DELETES,
        "/x",
        1,
        0,
    )


def test_position_deletes_are_recognised_by_the_reserved_field_id() -> None:
    assert PATH_FIELD_ID == 2147483546


def test_files_and_names_have_the_hooks_that_durability_rests_on() -> None:
    assert list(inspect.signature(PyArrowFile.create).parameters) == ["self", "overwrite"]
    assert list(inspect.signature(PyArrowFileIO.new_output).parameters) == ["self", "location"]
    assert make_compatible_name("a.b") == "a_x2Eb"


def test_the_sql_catalogue_swaps_the_metadata_pointer_only_if_it_stands_where_it_was_read() -> None:
    source = inspect.getsource(SqlCatalog.commit_table)
    assert "IcebergTables.metadata_location == current_table.metadata_location" in source
    assert source.index("_write_metadata") < source.index("update(IcebergTables)") < source.index("session.commit()")
    assert {"catalog_name", "table_namespace", "table_name", "metadata_location"} <= set(
        IcebergTables.__table__.columns.keys()
    )
