"""The catalogue: the six files of a Pipedrive export, each a raw table.

Columns are named by Fivetran's rule from the files' headers. What an export lacks is ours: the record's id where
rows have none of their own (see :mod:`gtm_assets.sources.pipedrive.export`), ``exported_at``, which orders the
versions of records without a time of change, and the delete mark.
"""

from __future__ import annotations

from dataclasses import replace

from gtm_assets.catalog.raw_table import (
    Column,
    ColumnType,
    Deletes,
    Identifies,
    Link,
    Pii,
    RawTable,
    Reference,
    fivetran_name,
)

SOURCE = "pipedrive"


def _column(header: str, type_: ColumnType, description: str, pii: Pii | None = None) -> Column:
    return Column(fivetran_name(header), type_, description, header, pii)


def _text(header: str, description: str, pii: Pii | None = None) -> Column:
    return _column(header, ColumnType.STRING, description, pii)


def _integer(header: str, description: str) -> Column:
    return _column(header, ColumnType.INTEGER, description)


def _flag(header: str, description: str) -> Column:
    return _column(header, ColumnType.BOOLEAN, description)


def _timestamp(header: str, description: str) -> Column:
    """A timestamp. One without a zone is UTC."""
    return _column(header, ColumnType.TIMESTAMP, description)


def _made_id(description: str) -> Column:
    return Column("id", ColumnType.STRING, description, "")


_EXPORTED = Column(
    "exported_at",
    ColumnType.TIMESTAMP,
    "When the file was exported that first had the record as it is: the file's time of change, UTC. The cursor.",
    "",
)
_DELETED = Column(
    "_fivetran_deleted",
    ColumnType.BOOLEAN,
    "True once a full extraction no longer finds the record in the export.",
    "",
)


def _state(name: str, description: str, *columns: Column) -> RawTable:
    """A file of records as they are now."""
    return RawTable(
        source=SOURCE,
        name=name,
        api_name=f"{name}.csv",
        description=description,
        columns=(*columns, _EXPORTED, _DELETED),
        cursor=_EXPORTED.name,
        deletes=Deletes.SNAPSHOT,
        is_taken_whole=True,
    )


TABLES: tuple[RawTable, ...] = (
    _state(
        "activity",
        "Calls, meetings and follow-ups with deals. One row per activity and deal.",
        _made_id(
            "activity_id, deal_id, type and a number, 1 but where one export has several rows with these three."
        ),
        _integer("activity_id", "Pipedrive's id of the activity; not unique."),
        _text("type", "Key of the activity's type: that of activity_types."),
        _integer("assigned_to_user", "User who has the activity."),
        _integer("deal_id", "Deal that the activity is about."),
        _flag("done", "True once the activity is completed."),
        _timestamp("due_to", "When the activity is due, UTC."),
    ),
    _state(
        "activity_types",
        "Types of activities. One row per type.",
        _text("id", "Pipedrive's id of the type."),
        _text("name", "Name of the type, such as Sales Call 1."),
        _flag("active", "True while the type can be chosen; Yes or No in the export."),
        _text("type", "Key of the type, such as meeting."),
    ),
    RawTable(
        source=SOURCE,
        name="deal_changes",
        api_name="deal_changes.csv",
        description="Changes of the fields of deals. One row per change; exact repeats are one.",
        columns=(
            replace(_made_id("Hash of the change's four columns."), identifies=Identifies.HASH),
            replace(_integer("deal_id", "Deal that was changed."), refers=Reference(Link.ABOUT, ("deal",))),
            _timestamp("change_time", "When it was changed, UTC. The cursor."),
            _text(
                "changed_field_key", "Field: add_time, user_id, stage_id, lost_reason or another key of fields."
            ),
            replace(
                _text("new_value", "The field's new value.", Pii.CONFIDENTIAL),
                personal_where=("changed_field_key", "person_"),
            ),
            _DELETED,
        ),
        cursor="change_time",
        deletes=Deletes.SNAPSHOT,
        is_taken_whole=True,
        is_append_only=True,
    ),
    _state(
        "fields",
        "Fields of deals. One row per field.",
        _text("ID", "Pipedrive's id of the field."),
        _text("FIELD_KEY", "Key of the field, as deal_changes names it."),
        _text("NAME", "Name of the field."),
        _text("FIELD_VALUE_OPTIONS", "Values that the field can have: a JSON list of objects with id and label."),
    ),
    _state(
        "stages",
        "Stages of the pipeline. One row per stage.",
        _made_id("The stage's stage_id as text."),
        _integer("stage_id", "Pipedrive's id of the stage."),
        _text("stage_name", "Name of the stage, such as Lead Generation."),
    ),
    _state(
        "users",
        "People who work in Pipedrive. One row per user.",
        _text("id", "Pipedrive's id of the user."),
        replace(_text("name", "Full name.", Pii.CONFIDENTIAL), identifies=Identifies.NAME),
        replace(_text("email", "Email address.", Pii.CONFIDENTIAL), identifies=Identifies.EMAIL),
        _timestamp("modified", "When the user was last changed, UTC."),
    ),
)
