"""The org's objects as the API shows them: API names, field types, records at an instant, describes.

Records are the synthetic org's, plus what a test has edited, deleted or purged.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from gtm_assets.catalog.raw_table import Column, ColumnType, Deletes
from gtm_assets.partitions import Window
from gtm_assets.sources.salesforce.catalog import OBJECTS, SalesforceObject
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg
from gtm_assets.sources.salesforce.synthetic.ids import ids

_SNAPSHOTS_KEPT = 2
"""Instants whose records are kept, per object."""

_TYPES = {
    ColumnType.BOOLEAN: "boolean",
    ColumnType.INTEGER: "int",
    ColumnType.DOUBLE: "double",
    ColumnType.CURRENCY: "currency",
    ColumnType.DATE: "date",
    ColumnType.TIMESTAMP: "datetime",
}
_PICKLISTS = (
    "AccountSource",
    "CallType",
    "CurrencyIsoCode",
    "DefaultCurrencyIsoCode",
    "Division",
    "EventSubtype",
    "Family",
    "Field",
    "ForecastCategory",
    "ForecastCategoryName",
    "ForecastingItemCategory",
    "Industry",
    "LeadSource",
    "LossReason__c",
    "Priority",
    "Rating",
    "Role",
    "Segment__c",
    "SobjectType",
    "StageName",
    "Status",
    "TaskSubtype",
    "TimeZoneSidKey",
    "Type",
    "UserType",
)
_TEXT_TYPES = {
    "Email": "email",
    "Phone": "phone",
    "MobilePhone": "phone",
    "Website": "url",
    "Description": "textarea",
    "OldValue": "anyType",
    "NewValue": "anyType",
    **dict.fromkeys(_PICKLISTS, "picklist"),
}
_PERCENTS = {"Discount", "ExpectedResponse", "Influence", "Probability", "DefaultProbability"}
_REFERENCES = {
    "AccountId": ["Account"],
    "ActivityId": ["Task"],
    "CampaignId": ["Campaign"],
    "ContactId": ["Contact"],
    "ConvertedAccountId": ["Account"],
    "ConvertedContactId": ["Contact"],
    "ConvertedOpportunityId": ["Opportunity"],
    "ForecastUserId": ["User"],
    "LeadId": ["Lead"],
    "ManagerId": ["User"],
    "OpportunityId": ["Opportunity"],
    "ParentForecastingItemId": ["ForecastingItem"],
    "ParentRoleId": ["UserRole"],
    "PeriodId": ["Period"],
    "Pricebook2Id": ["Pricebook2"],
    "PricebookEntryId": ["PricebookEntry"],
    "Product2Id": ["Product2"],
    "QuotaOwnerId": ["User"],
    "RecordTypeId": ["RecordType"],
    "RelatedToId": ["Account", "Campaign", "Opportunity"],
    "ReportsToId": ["Contact"],
    "UserRoleId": ["UserRole"],
    "WhatId": ["Account", "Campaign", "Opportunity"],
    "WhoId": ["Contact", "Lead"],
    "OwnerId": ["User"],
    "CreatedById": ["User"],
    "LastModifiedById": ["User"],
}
_SYSTEM = {
    "Id",
    "IsDeleted",
    "CreatedById",
    "CreatedDate",
    "LastModifiedById",
    "LastModifiedDate",
    "SystemModstamp",
}


_REPLICATEABLE = {"ForecastingQuota", "OpportunityStage", "RecordType", "User", "UserRole"}
"""Objects without IsDeleted whose deletions are listed."""
_CURRENCY_TYPE = SalesforceObject(
    source="salesforce",
    name="currency_type",
    api_name="CurrencyType",
    description="Currencies of the org.",
    columns=(
        Column("id", ColumnType.STRING, "", "Id"),
        Column("iso_code", ColumnType.STRING, "", "IsoCode"),
        Column("conversion_rate", ColumnType.DOUBLE, "", "ConversionRate"),
        Column("is_corporate", ColumnType.BOOLEAN, "", "IsCorporate"),
        Column("system_modstamp", ColumnType.TIMESTAMP, "", "SystemModstamp"),
        Column("_fivetran_deleted", ColumnType.BOOLEAN, "", ""),
    ),
    cursor="system_modstamp",
    deletes=Deletes.SNAPSHOT,
    key_prefix="01L",
)
"""Listed and queryable, as an org with several currencies has it."""
CURRENCIES = {"USD": 1.0, "EUR": 0.8}
"""Units of a currency for one of the org's own, which is the first."""


def make_id(prefix: str, number: int) -> str:
    """The 18-character id of a number."""
    return ids(prefix, np.array([number]))[0]


@dataclass(frozen=True)
class Field:
    """A field of an object: its API name, the frame's column that holds it and its API type."""

    name: str
    column: str
    type: str
    references: tuple[str, ...] = ()

    @property
    def is_id(self) -> bool:
        """True where values are ids."""
        return self.type in ("id", "reference")

    def describe(self) -> dict[str, Any]:
        """The field's part of the object's describe."""
        custom = self.name.endswith("__c")
        number = self.type in ("currency", "double", "percent")
        length = {"id": 18, "reference": 18, "textarea": 32000, "picklist": 255, "string": 255}
        length |= {"email": 80, "phone": 40, "url": 255, "anyType": 255}
        relation = None
        if self.type == "reference":
            relation = re.sub("Id$", "", self.name)
        return {
            "aggregatable": self.type not in ("textarea", "boolean"),
            "aiPredictionField": False,
            "autoNumber": False,
            "byteLength": 3 * length.get(self.type, 0),
            "calculated": False,
            "calculatedFormula": None,
            "caseSensitive": False,
            "compoundFieldName": None,
            "createable": self.name not in _SYSTEM,
            "custom": custom,
            "defaultValue": None,
            "defaultedOnCreate": self.name in _SYSTEM,
            "deprecatedAndHidden": False,
            "digits": 9 if self.type == "int" else 0,
            "filterable": self.type != "textarea",
            "groupable": self.type not in ("currency", "double", "percent", "datetime", "textarea"),
            "idLookup": self.type == "id",
            "label": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.name.removesuffix("__c")).replace("_", " "),
            "length": length.get(self.type, 0),
            "name": self.name,
            "nameField": self.name == "Name",
            "nillable": self.type not in ("id", "boolean") and self.name not in _SYSTEM,
            "permissionable": self.name not in _SYSTEM,
            "picklistValues": [],
            "polymorphicForeignKey": len(self.references) > 1,
            "precision": 18 if number else 0,
            "referenceTo": list(self.references),
            "relationshipName": relation,
            "restrictedPicklist": False,
            "scale": 2 if number else 0,
            "soapType": _SOAP.get(self.type, "xsd:string"),
            "sortable": self.type != "textarea",
            "type": self.type,
            "unique": self.type == "id",
            "updateable": self.name not in _SYSTEM,
        }


_SOAP = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "double": "xsd:double",
    "percent": "xsd:double",
    "currency": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "anyType": "xsd:anyType",
}


def _field(table: SalesforceObject, column: Column) -> Field:
    name = column.api_name
    if column.type is not ColumnType.STRING:
        kind = "percent" if name in _PERCENTS else _TYPES[column.type]
        return Field(name, column.name, kind)
    if name == "Id":
        return Field(name, column.name, "id")
    if name.endswith("Id"):
        references = tuple(_REFERENCES.get(name, ()))
        if name == "ParentId":
            references = (table.api_name,) if table.api_name != "EmailMessage" else ("Case",)
        return Field(name, column.name, "reference", references)
    return Field(name, column.name, _TEXT_TYPES.get(name, "string"))


def _custom_field(column: str, type_: pl.DataType) -> Field:
    """A field that the catalogue does not know: the org has got it later."""
    name = column.removesuffix("_c").title() + "__c"
    kind = {pl.Boolean: "boolean", pl.Int64: "int", pl.Float64: "double", pl.Date: "date"}
    return Field(name, column, kind.get(type_.base_type(), "string"))


@dataclass(frozen=True)
class View:
    """An object with its visible fields and its records at an instant (all of them, deleted ones too)."""

    table: SalesforceObject
    fields: tuple[Field, ...]
    frame: pl.DataFrame

    @property
    def name(self) -> str:
        """API name."""
        return self.table.api_name

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """Fields by their name in lower case: SOQL does not tell cases apart."""
        return {f.name.lower(): f for f in self.fields}

    def summary(self, base: str) -> dict[str, Any]:
        """What the list of all objects says of this one; ``base`` is the path of the API version."""
        return object_summary(self.table, base)

    def describe(self, base: str) -> dict[str, Any]:
        """The object's describe."""
        return self.summary(base) | {
            "actionOverrides": [],
            "childRelationships": [],
            "compactLayoutable": True,
            "fields": [f.describe() for f in self.fields],
            "namedLayoutInfos": [],
            "recordTypeInfos": [],
            "searchLayoutable": True,
            "supportedScopes": [{"label": f"All {self.name}s", "name": "everything"}],
        }


def snapshot_at(org: SyntheticOrg, table: SalesforceObject, at: datetime) -> pl.DataFrame:
    """All records as the synthetic org has them just before ``at``, by id."""
    if table is _CURRENCY_TYPE:
        return pl.DataFrame(
            {
                "id": [make_id(table.key_prefix, number) for number in range(len(CURRENCIES))],
                "iso_code": list(CURRENCIES),
                "conversion_rate": list(CURRENCIES.values()),
                "is_corporate": [number == 0 for number in range(len(CURRENCIES))],
                "system_modstamp": [datetime(2024, 1, 1, tzinfo=UTC)] * len(CURRENCIES),
                "_fivetran_deleted": [False] * len(CURRENCIES),
            },
            schema={name: kind.polars for name, kind in table.types.items()},
        )
    return pl.concat(org.snapshot(table, Window("any", None, at))).sort("id")


def has_deletes(table: SalesforceObject) -> bool:
    """True where the object has IsDeleted."""
    return "is_deleted" in table.types


def lists_deletions(table: SalesforceObject) -> bool:
    """True where the API lists what was deleted from the object."""
    return has_deletes(table) or table.api_name in _REPLICATEABLE


def object_summary(table: SalesforceObject, base: str) -> dict[str, Any]:
    """One object of the list of all objects."""
    name = table.api_name
    history = name.endswith("History")
    return {
        "activateable": False,
        "createable": not history,
        "custom": name.endswith("__c"),
        "customSetting": False,
        "deletable": has_deletes(table) and not history,
        "deprecatedAndHidden": False,
        "feedEnabled": False,
        "hasSubtypes": False,
        "isSubtype": False,
        "keyPrefix": table.key_prefix,
        "label": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name),
        "labelPlural": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) + "s",
        "layoutable": not history,
        "mergeable": name in ("Account", "Contact", "Lead"),
        "mruEnabled": not history,
        "name": name,
        "queryable": True,
        "replicateable": lists_deletions(table),
        "retrieveable": True,
        "searchable": not history,
        "triggerable": not history,
        "undeletable": has_deletes(table) and not history,
        "updateable": not history,
        "urls": {
            "sobject": f"{base}/sobjects/{name}",
            "describe": f"{base}/sobjects/{name}/describe",
            "rowTemplate": f"{base}/sobjects/{name}/{{ID}}",
        },
    }


@dataclass(frozen=True)
class _Edit:
    at: datetime
    id: str
    values: dict[str, Any]


@dataclass
class _Made:
    """What a test made of one object's records."""

    edits: list[_Edit] = field(default_factory=list)
    purged: list[tuple[datetime, str]] = field(default_factory=list)


class Objects:
    """All objects, their records at any instant, and what a test changes in them. Safe for threads."""

    def __init__(self, org: SyntheticOrg) -> None:
        """Nothing is made before it is asked for."""
        self.org = org
        served = (*OBJECTS, _CURRENCY_TYPE)
        self.tables = {table.api_name.lower(): table for table in served}
        self._made = {table.name: _Made() for table in served}
        self._kept: dict[str, OrderedDict[datetime, pl.DataFrame]] = {t.name: OrderedDict() for t in served}
        self._lock = threading.RLock()

    def table(self, name: str) -> SalesforceObject:
        """The object of an API name, in any case.

        Raises:
            KeyError: there is none.
        """
        return self.tables[name.lower()]

    def frame(self, table: SalesforceObject, at: datetime) -> pl.DataFrame:
        """All records at an instant, the test's changes included, by id."""
        with self._lock:
            kept = self._kept[table.name]
            if at not in kept:
                kept[at] = self._changed(table, snapshot_at(self.org, table, at), at)
                while len(kept) > _SNAPSHOTS_KEPT:
                    kept.popitem(last=False)
            kept.move_to_end(at)
            return kept[at]

    def view(self, table: SalesforceObject, at: datetime, hidden: frozenset[str]) -> View:
        """The object at an instant without its ``hidden`` fields (API names)."""
        frame = self.frame(table, at)
        known = {column.name: column for column in table.columns}
        fields = []
        for column, type_ in frame.schema.items():
            if column not in known:
                fields.append(_custom_field(column, type_))
            elif known[column].api_name:
                fields.append(_field(table, known[column]))
        return View(table, tuple(f for f in fields if f.name not in hidden), frame)

    def purged(self, table: SalesforceObject, at: datetime) -> list[tuple[datetime, str]]:
        """When which records were deleted for good, up to an instant."""
        with self._lock:
            return [(when, id_) for when, id_ in self._made[table.name].purged if when <= at]

    def edit(self, table: SalesforceObject, at: datetime, id_: str, values: dict[str, Any]) -> None:
        """From ``at`` on the record holds ``values`` (by column)."""
        with self._lock:
            frame = self.frame(table, at)
            unknown = sorted(set(values) - set(frame.columns))
            if unknown:
                raise ValueError(f"{table.api_name} has no columns {unknown}")
            if frame.filter(pl.col("id") == id_).is_empty():
                raise ValueError(f"{table.api_name} has no record {id_} at {at}")
            self._made[table.name].edits.append(_Edit(at, id_, values))
            self._kept[table.name].clear()

    def purge(self, table: SalesforceObject, at: datetime, id_: str) -> None:
        """From ``at`` on the record is gone for good."""
        with self._lock:
            self._made[table.name].purged.append((at, id_))
            self._kept[table.name].clear()

    def _changed(self, table: SalesforceObject, frame: pl.DataFrame, at: datetime) -> pl.DataFrame:
        made = self._made[table.name]
        edits = [edit for edit in made.edits if edit.at <= at]
        if edits:
            ids = {edit.id for edit in edits}
            is_edited = pl.col("id").is_in(sorted(ids))
            records = {record["id"]: record for record in frame.filter(is_edited).to_dicts()}
            for edit in edits:
                records[edit.id] |= edit.values
            edited = pl.DataFrame(list(records.values()), schema=frame.schema)
            frame = pl.concat([frame.filter(~is_edited), edited]).sort("id")
        gone = [id_ for when, id_ in made.purged if when <= at]
        return frame.filter(~pl.col("id").is_in(gone)) if gone else frame
