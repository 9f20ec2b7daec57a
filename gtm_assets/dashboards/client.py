"""Superset's REST API: dashboards brought in, and users, roles and row rules made as the access file says."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import requests

from gtm_assets.dashboards.bundle import CERTIFIED, DashboardsError, Source
from gtm_assets.dashboards.rights import (
    ADMINISTRATORS,
    LAYERS,
    PERMISSIONS,
    PREFIX,
    Reader,
    Rows,
    condition,
    opens,
    reads,
    refuse_templates,
    rights_of,
    sees,
)
from gtm_assets.engines.engine import Table
from gtm_assets.serving.access_file import TIERS, Access, Layer

NO_ROWS = f"{PREFIX}no rows without a rule"
_PAGE = 100
_OF_DATASET = re.compile(r"\(id:(\d+)\)$")
_SECONDS = 120


class Client:
    """A session of somebody's at the server."""

    def __init__(self, address: str, login: str, password: str) -> None:
        """Log in.

        Raises:
            DashboardsError: the server does not take the password.
        """
        self._address = address
        self._session = requests.Session()
        # A proxy of the machine's is for other machines.
        self._session.trust_env = False
        said = self.post("security/login", {"username": login, "password": password, "provider": "db"})
        self._session.headers["Authorization"] = f"Bearer {said['access_token']}"
        self._session.headers["X-CSRFToken"] = self.get("security/csrf_token/")["result"]

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """An answer of the server's."""
        return self._ask("GET", path, params={"q": json.dumps(query)} if query else None)

    def post(self, path: str, body: Any) -> Any:
        """What the server says to something new."""
        return self._ask("POST", path, json=body)

    def put(self, path: str, body: Any) -> Any:
        """What the server says to a change."""
        return self._ask("PUT", path, json=body)

    def delete(self, path: str) -> Any:
        """What the server says to a removal."""
        return self._ask("DELETE", path)

    def all(self, path: str) -> list[Any]:
        """All entries of a list."""
        return list(self._pages(path))

    def bring(self, bundle: bytes, passwords: Mapping[str, str]) -> None:
        """Bring dashboards, charts and datasets in, over those that are there.

        ``passwords`` are those of databases, by the path of their document.
        """
        self._ask(
            "POST",
            "assets/import/",
            files={"bundle": ("assets.zip", bundle, "application/zip")},
            data={"passwords": json.dumps(passwords)},
        )

    def _pages(self, path: str) -> Iterator[Any]:
        page = 0
        while True:
            found = self.get(path, {"page": page, "page_size": _PAGE})["result"]
            yield from found
            if len(found) < _PAGE:
                return
            page += 1

    def _ask(self, method: str, path: str, **given: Any) -> Any:
        try:
            answer = self._session.request(method, f"{self._address}/api/v1/{path}", timeout=_SECONDS, **given)
        except requests.RequestException as error:
            raise DashboardsError(
                f"no dashboards answer at {self._address}: {error}. Start them: make dashboards"
            ) from error
        if not answer.ok:
            raise DashboardsError(
                f"the dashboards refuse {method} {path}: {answer.status_code} {answer.text[:500]}"
            )
        return answer.json() if answer.content else None


class Rights:
    """What the access file says, brought to the server. What is there already and the same is left as it is."""

    def __init__(
        self,
        client: Client,
        access: Access,
        layers: Mapping[str, frozenset[Layer]],
        source: Source,
        described: Mapping[str, Table],
    ) -> None:
        """``client`` is an administrator's; ``layers`` are what each dashboard reads, by its slug.

        ``described`` is what the dbt project says of its tables.
        """
        refuse_templates(access)
        self._client, self._layers, self._source, self._described = client, layers, source, described
        self._readers = rights_of(access)
        self._roles: dict[str, int] = {}

    def apply(self) -> dict[str, str]:
        """Make roles, rules and users, in this order: nobody is let in before a rule says which rows they see.

        Returns the passwords of the users who are new.
        """
        self._roles = {role["name"]: role["id"] for role in self._client.all("security/roles/")}
        self._make_roles()
        self._make_rules()
        self._close_dashboards()
        passwords = self._make_users()
        self._remove_roles()
        return passwords

    def _make_roles(self) -> None:
        ids: dict[tuple[str, str], int] = {}
        of_layer: dict[str, list[int]] = {layer: [] for layer in LAYERS.values()}
        schemas = {one["id"]: one["schema"] for one in self._client.all("dataset/")}
        layers = {_like(schema): layer for schema, layer in LAYERS.items()}
        for one in self._client.all("security/permissions-resources/"):
            permission, resource = one["permission"]["name"], one["view_menu"]["name"]
            ids[permission, resource] = one["id"]
            named = _OF_DATASET.search(resource)
            if permission == "datasource_access" and named and int(named[1]) in schemas:
                of_layer[layers[_like(schemas[int(named[1])])]].append(one["id"])
        for right, permissions in PERMISSIONS.items():
            if missing := sorted(permissions - ids.keys()):
                raise DashboardsError(
                    f"Superset knows no such permissions: {missing}. Take the pinned one: make setup-dashboards"
                )
            self._role(f"{PREFIX}{right}", [ids[one] for one in permissions])
        for layer in LAYERS.values():
            self._role(reads(layer), of_layer[layer])
        for tier in TIERS:
            self._role(sees(tier), [])
        for name in [*map(opens, self._layers), *(rows.role for rows in self._rows())]:
            self._role(name, [])

    def _role(self, name: str, permissions: Sequence[int]) -> None:
        if name not in self._roles:
            self._roles[name] = self._client.post("security/roles/", {"name": name})["id"]
        if permissions:
            body = {"permission_view_menu_ids": sorted(permissions)}
            self._client.post(f"security/roles/{self._roles[name]}/permissions", body)

    def _rows(self) -> list[Rows]:
        return sorted({reader.rows for reader in self._readers}, key=lambda rows: rows.role)

    def _make_rules(self) -> None:
        certified = {
            one["table_name"]: one["id"]
            for one in self._client.all("dataset/")
            if _like(one["schema"]) == _like(CERTIFIED)
        }
        there = {rule["name"]: rule["id"] for rule in self._client.all("rowlevelsecurity/")}
        everyone = [self._roles[rows.role] for rows in self._rows()]
        # Whoever has no rule sees no row. Superset applies it to all but these roles.
        of_nobody = ("Base", "1 = 0", [*certified.values()], [*everyone, self._roles[ADMINISTRATORS]])
        wanted = {NO_ROWS: of_nobody}
        for rows in self._rows():
            for dataset, id_ in certified.items():
                clause = condition(rows, dataset, self._described)
                if clause is not None:
                    rule = ("Regular", self._source.named(clause), [id_], [self._roles[rows.role]])
                    wanted[f"{rows.role}: {dataset}"] = rule
        for name, (kind, clause, tables, roles) in wanted.items():
            body = {
                "name": name,
                "description": "Made from the access file: a change here does not last.",
                "filter_type": kind,
                "tables": tables,
                "roles": roles,
                "group_key": "",
                "clause": clause,
            }
            if name in there:
                self._client.put(f"rowlevelsecurity/{there[name]}", body)
            else:
                self._client.post("rowlevelsecurity/", body)
        for name in there.keys() - wanted.keys():
            if name.startswith(PREFIX):
                self._client.delete(f"rowlevelsecurity/{there[name]}")

    def _close_dashboards(self) -> None:
        """Open each dashboard to those alone who may read all that it shows."""
        for one in self._client.all("dashboard/"):
            if one["slug"] in self._layers:
                roles = [self._roles[opens(one["slug"])], self._roles[ADMINISTRATORS]]
                self._client.put(f"dashboard/{one['id']}", {"roles": roles})

    def _make_users(self) -> dict[str, str]:
        there = {user["username"]: user for user in self._client.all("security/users/")}
        passwords = {}
        for reader in self._readers:
            user = {
                "username": reader.login,
                "first_name": reader.login,
                "last_name": "",
                "email": reader.login if "@" in reader.login else f"{reader.login}@dashboards.invalid",
                "active": True,
                "roles": [self._roles[name] for name in self._all_roles(reader)],
            }
            if reader.login in there:
                self._client.put(f"security/users/{there[reader.login]['id']}", user)
            else:
                passwords[reader.login] = secrets.token_urlsafe(12)
                self._client.post("security/users/", {**user, "password": passwords[reader.login]})
        known = {reader.login for reader in self._readers}
        for login, user in there.items():
            ours = any(role["name"].startswith(PREFIX) for role in user["roles"])
            if ours and login not in known:
                self._client.put(
                    f"security/users/{user['id']}", {"active": False, "roles": [self._roles[f"{PREFIX}viewer"]]}
                )
        return passwords

    def _all_roles(self, reader: Reader) -> list[str]:
        return [*reader.roles, *(opens(name) for name, layers in self._layers.items() if reader.may_open(layers))]

    def _remove_roles(self) -> None:
        """Remove the roles of rows that nobody has any more."""
        wanted = {rows.role for rows in self._rows()}
        for name, id_ in self._roles.items():
            if name.startswith(f"{PREFIX}rows of ") and name not in wanted:
                self._client.delete(f"security/roles/{id_}")


def _like(schema: str | None) -> str:
    """A schema by its layer: ``gtm_certified`` and ``dev_ana_reader_certified`` are alike."""
    return (schema or "").rsplit("_", 1)[-1]
