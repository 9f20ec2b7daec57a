"""Who may read and write what: one file of YAML that a company keeps outside the package.

It is written with comments where there is none yet (:data:`DEFAULT`), read with sentences that name what is wrong,
and enforced by ``gtm access apply``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gtm_assets.errors import GtmError

Layer = Literal["raw", "staging", "intermediate", "core", "mart", "certified", "meta", "audit"]
LAYERS: tuple[Layer, ...] = ("raw", "staging", "intermediate", "core", "mart", "certified", "meta", "audit")
Tier = Literal["internal", "confidential"]
TIERS: tuple[Tier, ...] = ("internal", "confidential")
"""Of personal data, by dbt's meta ``pii``. Restricted data are never extracted."""
Mask = Literal["email", "phone", "initials", "nothing"]
"""``nothing`` shows nothing: null."""
Dashboards = Literal["none", "viewer", "manager", "creator", "administrator"]
"""What a role may do in the dashboards: look, export data too, make charts too, all."""
Kind = Literal["person", "service", "embedding", "key"]
"""Of a login. Its credential may become as old as the settings say for its kind."""
FINANCIAL = ("*amount*", "*revenue*", "*bookings*", "*pipeline*", "*price*", "*cost*", "quota*", "*velocity*")
"""Names of columns with financial data, where the access file names none."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAKEN = re.compile(r"auditor|view_owner|access|sees_.*")
"""Roles that the platform itself makes."""


class AccessError(GtmError):
    """The access file, or what it asks for, is wrong. The message names the place and says what to do."""


class Right(StrEnum):
    """What a role may do with a layer."""

    NONE = "none"
    READ = "read"
    WRITE = "write"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Role(_Strict):
    """What those may do who have a role."""

    layers: Mapping[Layer, Right] = Field(default_factory=dict)
    sees: tuple[Tier, ...] = ()
    """The tiers of personal data that are shown to them; the others are masked."""
    own_schema: bool = False
    """Whether each has a schema of their own to write in."""
    statement_seconds: int | None = Field(default=None, ge=1)
    """After so long a statement is ended."""
    connections: int | None = Field(default=None, ge=1)
    """So many sessions each may have."""
    budget_hours: float | None = Field(default=None, gt=0)
    """For so long the queries of all who have it may take in a month."""
    dashboards: Dashboards = "none"
    """What they may do in the dashboards."""
    ad_hoc: bool = False
    """Whether it is refused for the rest of the month when its budget is used up."""

    @model_validator(mode="after")
    def _can_be_refused(self) -> Self:
        if self.ad_hoc and self.budget_hours is None:
            raise ValueError("ad_hoc needs budget_hours: what is refused is a role that has used up its budget")
        if self.ad_hoc and Right.WRITE in self.layers.values():
            raise ValueError("a role that writes a layer is never refused: leave ad_hoc out")
        if self.layers.get("audit") is Right.WRITE:
            raise ValueError("what is audited is only read: audit is none or read")
        return self


class MaskRule(_Strict):
    """How columns are masked whose names are like one of these patterns."""

    columns: tuple[str, ...] = Field(min_length=1)
    mask: Mask


class Person(_Strict):
    """A login, a person's or a service's."""

    roles: tuple[str, ...] = Field(min_length=1)
    scope: Literal["all", "region", "team", "own"] = "own"
    """Of which owners' rows they see: all; of a region; of everybody who reports to them; their own."""
    user: str | None = None
    """Their email or id in dim_user; by default the login is their email."""
    regions: tuple[str, ...] = ()
    """Values of dim_user's division."""
    kind: Kind = "person"

    @model_validator(mode="after")
    def _regions_are_named(self) -> Self:
        if (self.scope == "region") != bool(self.regions):
            raise ValueError("regions go with the scope region, and that scope needs them")
        return self


class Access(_Strict):
    """The whole file."""

    roles: Mapping[str, Role]
    masks: tuple[MaskRule, ...]
    financial: tuple[str, ...] = FINANCIAL
    """Patterns of columns whose reads are logged, beside those with personal data."""
    people: Mapping[str, Person] = Field(default_factory=dict)

    @field_validator("people", mode="before")
    @classmethod
    def _nobody_yet(cls, people: object) -> object:
        return {} if people is None else people

    @field_validator("roles")
    @classmethod
    def _are_names(cls, roles: Mapping[str, Role]) -> Mapping[str, Role]:
        for name in roles:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name}: a role's name has small letters, digits and _, and begins with a letter"
                )
            if _TAKEN.fullmatch(name):
                raise ValueError(f"{name}: the platform itself has a role of this name. Call it otherwise")
        return roles

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for login, person in self.people.items():
            for role in person.roles:
                if role not in self.roles:
                    raise ValueError(f"people.{login}: there is no role {role}; there are {', '.join(self.roles)}")
        if self.people and not any(person.scope == "all" for person in self.people.values()):
            raise ValueError("people: nobody has the scope all, so that nobody could see all rows. Give it to one")
        return self

    def mask_of(self, column: str) -> Mask | None:
        """The mask of a column, by the first rule whose patterns it is like; None where there is no rule."""
        for rule in self.masks:
            if any(fnmatchcase(column, pattern) for pattern in rule.columns):
                return rule.mask
        return None

    def is_financial(self, column: str) -> bool:
        """Whether a column holds financial data, by its name."""
        return any(fnmatchcase(column, pattern) for pattern in self.financial)

    def without(self, roles: Collection[str]) -> Access:
        """What is in force while nobody has these roles."""
        people = {
            login: person.model_copy(update={"roles": tuple(one for one in person.roles if one not in roles)})
            for login, person in self.people.items()
        }
        return self.model_copy(update={"people": people})

    def who_has(self, role: str) -> list[str]:
        """The logins that have a role."""
        return [login for login, person in self.people.items() if role in person.roles]

    def right(self, role: str, layer: Layer) -> Right:
        """What a role may do with a layer."""
        return self.roles[role].layers.get(layer, Right.NONE)


def read(path: Path) -> Access:
    """The access file.

    Raises:
        AccessError: it is not there, is no YAML, or says what it can't.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise AccessError(f"{path} can't be read: {error}. Name the access file in GTM_ACCESS_FILE") from error
    return parse(text, str(path))


def parse(text: str, place: str) -> Access:
    """The access that a text describes; ``place`` is where it stands, for messages."""
    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise AccessError(f"{place} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(said, dict):
        raise AccessError(f"{place} has to say roles, masks and people; it says none of them")
    try:
        return Access.model_validate(said)
    except ValidationError as error:
        raise AccessError(f"{place}: {'; '.join(_sentences(error))}") from error


def _sentences(error: ValidationError) -> Sequence[str]:
    return [_sentence(one["loc"], one["type"], one["msg"], one.get("input")) for one in error.errors()]


def _sentence(where: tuple[int | str, ...], kind: str, message: str, given: Any) -> str:
    place = ".".join(str(part) for part in where if part != "[key]")
    if "layers" in where and "[key]" in where:
        return f"{place}: {given} is no layer. The layers are {', '.join(LAYERS)}"
    if kind == "extra_forbidden":
        return f"{place}: nothing is called so here"
    text = message.removeprefix("Value error, ")
    return f"{place}: {text}" if place else text


def file_at(path: Path) -> Access:
    """The access file; where there is none yet, it is written with comments.

    Raises:
        AccessError: it says what it can't.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(DEFAULT)
    return read(path)


def matrix(access: Access) -> list[tuple[str, ...]]:
    """Role by layer, with what may be done, and the tiers of personal data that are shown."""
    return [
        (name, *(str(access.right(name, layer)) for layer in LAYERS), ", ".join(role.sees) or "none")
        for name, role in access.roles.items()
    ]


def granted(
    text: str, place: str, login: str, roles: list[str], scope: str, user: str | None, regions: list[str]
) -> str:
    """The access file's text with one more login, or with another entry for one that it has.

    Comments stay where they are, but for those of the entry that is replaced.

    Raises:
        AccessError: the result would be no access file.
    """
    entry: dict[str, object] = {"roles": roles, "scope": scope}
    before = parse(text, place).people.get(login)
    if before is not None and before.kind != "person":
        entry["kind"] = before.kind
    if user is not None:
        entry["user"] = user
    if regions:
        entry["regions"] = regions
    lines = text.rstrip("\n").split("\n")
    begin = next((n for n, line in enumerate(lines) if line.rstrip() == "people:"), None)
    if begin is None:
        raise AccessError(f"{place} has no line people: under which {login} could be entered")
    old = next((n for n in range(begin + 1, len(lines)) if lines[n].startswith(f"  {login}:")), None)
    if old is not None:
        end = old + 1
        while end < len(lines) and (lines[end].startswith("   ") and lines[end].strip()):
            end += 1
        del lines[old:end]
    written = yaml.safe_dump({login: entry}, default_flow_style=None, sort_keys=False).rstrip("\n").split("\n")
    lines[begin + 1 : begin + 1] = [f"  {line}" for line in written]
    changed = "\n".join(lines) + "\n"
    parse(changed, place)
    return changed


def missing_masks(access: Access, tiers: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The columns with personal data that no rule masks; ``tiers`` by table and column."""
    return sorted(
        f"{table}.{column}"
        for table, columns in tiers.items()
        for column in columns
        if access.mask_of(column) is None
    )


DEFAULT = """\
# Who may read and write what on the server to which what is published is brought.
# `gtm access apply` enforces this file, `gtm access show` prints it as a matrix, and a check at each publication
# compares the server with it.

roles:
  # What a role may do with each layer: none, read or write. Layers that are not named: none.
  # People read core, mart and certified through views, which mask and filter.
  ingest:
    layers: {raw: write}
  transform:
    layers: {raw: read, staging: write, intermediate: write, core: write, mart: write, meta: write}
    statement_seconds: 3600
  bi:
    layers: {mart: read, certified: read}
    # In the dashboards: none, viewer, manager (exports data and shares links too), creator (makes charts and
    # dashboards too) or administrator.
    dashboards: viewer
    statement_seconds: 900
    connections: 20
    # For so many hours the queries of all who have a role may take in a month. From 50 % on it is told.
    budget_hours: 100
  analyst:
    layers: {core: read, mart: read, certified: read, meta: read}
    dashboards: creator
    # Tiers of personal data that are shown. The others are masked.
    sees: [internal]
    statement_seconds: 900
    connections: 5
    budget_hours: 50
    # A role for queries of the moment is refused when its budget is used up, until the month ends or an
    # administrator runs `gtm access lift`.
    ad_hoc: true
  developer:
    layers: {core: read, mart: read, certified: read, meta: read}
    dashboards: creator
    sees: [internal]
    # Each developer writes in a schema of their own, and nowhere else.
    own_schema: true
    statement_seconds: 900
    connections: 5
    budget_hours: 50
    ad_hoc: true
  administrator:
    # audit: who read what of personal and financial data. Statements there may name people.
    layers:
      {raw: read, staging: read, intermediate: read, core: read, mart: read, certified: read, meta: write,
       audit: read}
    dashboards: administrator
    sees: [internal, confidential]

masks:
  # The first rule counts whose patterns a column is like. Each column with personal data needs one.
  # email: ***@example.com · phone: ***-***-1234 · initials: A. S. · nothing: null
  - {columns: ["*email*"], mask: email}
  - {columns: ["*phone*"], mask: phone}
  - {columns: ["*_name", "name"], mask: initials}
  - {columns: ["*_city", "*_state", "*_country", "country", "*street*", "*postal_code*"], mask: nothing}
  - {columns: [title, department, old_value, new_value], mask: nothing}

# Reads of columns like these are logged as financial, beside those of all columns with personal data.
financial: ["*amount*", "*revenue*", "*bookings*", "*pipeline*", "*price*", "*cost*", "quota*", "*velocity*"]

people:
  # login:
  #   roles: [analyst]
  #   scope: all                # all rows; or region, team (all who report to them, at any depth), own
  #   user: ana@acme.com        # who they are in dim_user, by email or id; needed for team and own
  #   regions: [EMEA]           # of the scope region: values of dim_user.division
  #   kind: service             # person (default), service, embedding or key: how old its credential may become
"""
