"""The transform: masked columns leave as masked text, described as such, and no message ever holds a value."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from forebay_agent.capture.source import Column, TableName, TableShape
from forebay_agent.config.model import MaskConfig, TableConfig
from forebay_agent.errors import ColumnMissing, TableChanged, TableMisconfigured, ValueUnrepresentable
from forebay_agent.transform import Transform
from forebay_wire import schema
from forebay_wire.columns import CHANGE_FIELDS, CHANGE_NAMES

SHAPE = TableShape(
    TableName("civil", "people"),
    (
        Column("id", "bigint", pa.int64()),
        Column("姓名", "varchar(40)", pa.string()),
        Column("id_no", "char(18)", pa.string()),
        Column("mobile", "bigint", pa.int64()),
        Column("note", "json", pa.string(), "text"),
        Column("photo", "blob", pa.binary()),
        Column("changed", "datetime(6)", pa.timestamp("us")),
    ),
    ("id",),
    "1",
)


def table(**changes: object) -> TableConfig:
    masks = (MaskConfig("姓名", "name"), MaskConfig("id_no", "citizen_id"), MaskConfig("mobile", "mobile"))
    values: dict[str, object] = {"masks": masks, "cursor": "changed", "file": "/etc/x.toml", "entry": "table[1]"}
    return TableConfig("civil.people", **(values | changes))  # type: ignore[arg-type]


def rows(*, names: list[str | None] | pa.Array, count: int = 2) -> pa.RecordBatch:
    now = datetime(2025, 8, 1, tzinfo=UTC)
    columns = [
        pa.array(range(count), pa.int64()),
        names if isinstance(names, pa.Array) else pa.array(names, pa.string()),
        pa.array(["11010519491231002x", None][:count], pa.string()),
        pa.array([13812345678, None][:count], pa.int64()),
        pa.array(["{}", None][:count], pa.string()),
        pa.array([b"\x00", None][:count], pa.binary()),
        pa.array([now.replace(tzinfo=None)] * count, pa.timestamp("us")),
        pa.array(["u"] * count, pa.string()),
        pa.array(["cursor:1"] * count, pa.string()),
        pa.array([now, None][:count], CHANGE_FIELDS[2].type),
        pa.nulls(count, CHANGE_FIELDS[3].type),
    ]
    fields = [pa.field(column.name, column.arrow) for column in SHAPE.columns]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([*fields, *CHANGE_FIELDS]))


def test_masked_columns_leave_masked_and_all_others_as_they_came() -> None:
    came = rows(names=["欧阳修", None])
    left = Transform(SHAPE, table()).apply(came)
    assert left.column("姓名").to_pylist() == ["欧阳*", None]
    assert left.column("id_no").to_pylist() == ["110105********002X", None]
    assert left.column("mobile").to_pylist() == ["138****5678", None]
    for name in ("id", "note", "photo", "changed", *CHANGE_NAMES):
        assert left.column(name).equals(came.column(name))


def test_the_schema_tells_origin_carriage_and_mask_of_every_column() -> None:
    transform = Transform(SHAPE, table())
    assert transform.apply(rows(names=["a", "b"])).schema.equals(transform.schema.arrow, check_metadata=True)
    assert transform.schema.key == ("id",)
    told = {
        field.name: (
            str(field.type),
            *(field.metadata.get(key, b"").decode() for key in (schema.ORIGIN, schema.CARRIED, schema.MASK)),
        )
        for field in transform.schema.columns
    }
    assert told == {
        "id": ("int64", "bigint", "exact", ""),
        "姓名": ("string", "varchar(40)", "exact", "name"),
        "id_no": ("string", "char(18)", "exact", "citizen_id"),
        "mobile": ("string", "bigint", "exact", "mobile"),
        "note": ("string", "json", "text", ""),
        "photo": ("binary", "blob", "exact", ""),
        "changed": ("timestamp[us]", "datetime(6)", "exact", ""),
    }


def test_a_changed_mask_is_another_schema() -> None:
    one, other = Transform(SHAPE, table()), Transform(SHAPE, table(masks=(MaskConfig("姓名", "name"),)))
    assert one.schema.fingerprint != other.schema.fingerprint


def test_no_rows_are_no_rows_of_the_same_schema() -> None:
    transform = Transform(SHAPE, table())
    left = transform.apply(rows(names=["a", "b"]).slice(0, 0))
    assert left.num_rows == 0
    assert left.schema.equals(transform.schema.arrow, check_metadata=True)


@pytest.mark.parametrize("column", ["id", "changed"])
def test_a_key_or_cursor_column_is_never_masked(column: str) -> None:
    with pytest.raises(TableMisconfigured, match="cannot be masked") as caught:
        Transform(SHAPE, table(masks=(MaskConfig(column, "name"),)))
    assert (caught.value.file, caught.value.key) == ("/etc/x.toml", f"table[1].masks.{column}")


def test_a_mask_on_a_column_that_is_not_read_is_refused() -> None:
    with pytest.raises(ColumnMissing, match="'nmae'"):
        Transform(SHAPE, table(masks=(MaskConfig("nmae", "name"),)))


def test_a_mask_on_binary_values_is_refused() -> None:
    with pytest.raises(TableMisconfigured, match="binary"):
        Transform(SHAPE, table(masks=(MaskConfig("photo", "name"),)))


def test_a_column_that_is_named_like_one_of_forebays_own_is_refused() -> None:
    shape = TableShape(SHAPE.table, (*SHAPE.columns, Column("_op", "text", pa.string())), SHAPE.key, "1")
    with pytest.raises(TableMisconfigured, match="_op"):
        Transform(shape, table())


@pytest.mark.parametrize(
    "change",
    [
        lambda batch: batch.drop_columns(["id_no"]),
        lambda batch: batch.rename_columns(["id", "姓名", "id_number", *batch.schema.names[3:]]),
        lambda batch: batch.select([*reversed(batch.schema.names)]),
        lambda batch: batch.append_column("extra", pa.array(["11010519491231002X"] * 2)),
        lambda batch: batch.set_column(3, "mobile", pa.array(["13812345678"] * 2)),
    ],
)
def test_rows_of_another_shape_never_slip_past_the_masks(change: object) -> None:
    with pytest.raises(TableChanged):
        Transform(SHAPE, table()).apply(change(rows(names=["a", "b"])))  # type: ignore[operator]


def test_an_error_names_table_and_column_and_never_the_value() -> None:
    secret = b"11010519491231002X" + b"\xff\xfe"
    broken = pa.Array.from_buffers(
        pa.string(),
        2,
        [
            None,
            pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, len(secret), len(secret)))),
            pa.py_buffer(secret),
        ],
    )
    with pytest.raises(ValueUnrepresentable) as caught:
        Transform(SHAPE, table()).apply(rows(names=broken))
    said = f"{caught.value} {caught.value.remedy} {caught.value.__cause__}"
    assert "civil.people" in said
    assert "姓名" in said
    assert "110105" not in said
    assert caught.value.__suppress_context__
