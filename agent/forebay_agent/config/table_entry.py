"""Reads one `[[table]]` of a source's file, and refuses what contradicts itself before any database is asked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from forebay_agent.config import model
from forebay_agent.config.section import Section, nearest
from forebay_wire import limits

_LABEL_CHARACTERS: Final = 64
_ONLY_IN_MODE: Final = {
    "cursor": "cursor",
    "overlap": "cursor",
    "unique_cursor": "cursor",
    "install": "trigger",
    "purge": "trigger",
    "snapshot": "log",
}


def read_table(entry: Section) -> model.TableConfig | None:
    """One table's entry; None when it has no usable name."""
    name = entry.text("name", required=True)
    mode = entry.text("mode", "cursor", choices=model.MODES)
    if isinstance(entry.content.get("columns"), dict):
        entry.content = {key: value for key, value in entry.content.items() if key != "columns"}
        entry.refuse("columns", "is a table", 'List the columns: `columns = ["ID", "NAME"]`; masks stand in `masks`.')
    columns, exclude = entry.texts("columns"), entry.texts("exclude")
    table = model.TableConfig(
        name=name,
        mode=mode,
        key=entry.texts("key"),
        columns=columns,
        exclude=exclude,
        masks=_read_masks(entry),
        as_text=frozenset(entry.texts("as_text")),
        cursor=entry.text("cursor"),
        overlap=_read_overlap(entry),
        unique_cursor=entry.flag("unique_cursor", False),
        install=entry.flag("install", False),
        purge=entry.flag("purge", True),
        snapshot=entry.flag("snapshot", True),
        priority=entry.integer("priority", 5, 1, 9),
        paused=entry.flag("paused", False),
        update_cycle=_read_label(entry, "update_cycle"),
        file=str(entry.file),
        entry=entry.place,
    )
    entry.finish()
    if not _name_is_usable(entry, name):
        return None
    _refuse_contradictions(entry, table)
    return table


def _read_masks(entry: Section) -> tuple[model.MaskConfig, ...]:
    masks = []
    for column, kind in entry.pairs("masks").items():
        if kind in model.MASK_KINDS:
            masks.append(model.MaskConfig(column, kind))
            continue
        hint = nearest(kind, model.MASK_KINDS)
        entry.refuse(
            f"masks.{column}",
            f"there is no mask {kind!r}{'; ' + hint if hint else ''}",
            f"Use one of: {', '.join(model.MASK_KINDS)}.",
        )
    return tuple(masks)


def _read_overlap(entry: Section) -> timedelta | int:
    if isinstance(entry.content.get("overlap"), int):
        return entry.integer("overlap", 0, 0, 1 << 62)
    return entry.duration("overlap", timedelta(0))


def _read_label(entry: Section, key: str) -> str:
    label = entry.text(key).strip()
    if len(label) <= _LABEL_CHARACTERS:
        return label
    entry.refuse(key, f"is longer than {_LABEL_CHARACTERS} characters", 'Write a label such as "每日" or "real time".')
    return ""


def _name_is_usable(entry: Section, name: str) -> bool:
    if not name:
        return False
    schema, dot, own = name.rpartition(".")
    if "/" in name or (dot and not schema) or not own or len(name.encode()) > limits.MAX_NAME_BYTES * 2:
        entry.refuse(
            "name",
            f"{name!r} is not the name of a table",
            'Write `name = "schema.table"` or `name = "table"`, without "/".',
        )
        return False
    return True


def _refuse_contradictions(entry: Section, table: model.TableConfig) -> None:
    if table.columns and table.exclude:
        entry.refuse("exclude", "stands beside `columns`", "Keep one: what to share, or what to leave out.")
    if table.mode == "cursor" and not table.cursor and not entry.has("cursor"):
        entry.refuse(
            "cursor",
            "is missing: mode `cursor` needs a column that grows with every change",
            'Add `cursor = "updated_at"`, or choose another mode.',
        )
    for key, mode in _ONLY_IN_MODE.items():
        if entry.has(key) and table.mode != mode:
            entry.refuse(
                key,
                f"is only used in mode `{mode}`, this table's is `{table.mode}`",
                f'Remove it, or set `mode = "{mode}"`.',
            )
    masked = {mask.column for mask in table.masks}
    for setting, names in (("key", table.key), ("cursor", (table.cursor,) if table.cursor else ())):
        for name in names:
            if name in masked:
                entry.refuse(
                    f"masks.{name}",
                    f"column {name!r} is in `{setting}`: its values stand in checkpoints and positions, so it cannot be masked",
                    "Use other columns as key and cursor, or do not mask this one.",
                )
            _refuse_unread(entry, table, setting, [name])
    _refuse_unread(entry, table, "masks", sorted(masked))
    _refuse_unread(entry, table, "as_text", sorted(table.as_text))


def _refuse_unread(entry: Section, table: model.TableConfig, setting: str, names: Iterable[str]) -> None:
    """Columns that a setting speaks of but that the entry leaves out."""
    for name in names:
        key = f"{setting}.{name}" if setting == "masks" else setting
        if name in table.exclude:
            entry.refuse(
                key,
                f"column {name!r} is in `exclude`: it is never read",
                f"Remove it from `{setting}` or from `exclude`.",
            )
        elif table.columns and name not in table.columns:
            entry.refuse(
                key,
                f"column {name!r} is not in `columns`: it is never read",
                f"Add it to `columns`, or remove it from `{setting}`.",
            )
