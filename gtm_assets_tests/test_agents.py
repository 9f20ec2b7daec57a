"""``gtm mcp``, asked by the SDK's own client: agents are told what metrics say, and no more than one may see."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import asynccontextmanager
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gtm_assets_tests.gtm_process import GTM, PROJECT, GtmHome
from gtm_assets_tests.needs import needs
from gtm_assets_tests.postgres_server import database, needs_postgres, running

needs_sdk = needs(None if find_spec("mcp") else "the extra mcp is not installed: make setup-mcp")
pytestmark = [pytest.mark.slow, needs_sdk]
TOOLS = {"list_metrics", "describe_metric", "query_metrics", "explain_number", "data_health"}


@asynccontextmanager
async def agent(home: GtmHome, *arguments: str, **settings: str):
    """A client of the command, which runs as a process of its own on standard input and output."""
    from mcp import Client, StdioServerParameters

    command = StdioServerParameters(
        command=str(GTM), args=["mcp", *arguments], env={**home.environment, **settings}, cwd=str(PROJECT)
    )
    async with Client(command, read_timeout_seconds=120) as client:
        yield client


async def told(client: Any, tool: str, **arguments: Any) -> Any:
    answer = await client.call_tool(tool, arguments)
    text = answer.content[0].text if answer.content else ""
    assert not answer.is_error, text
    structured = answer.structured_content
    return structured.get("result", structured)


async def refused(client: Any, tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error, answer
    return answer.content[0].text


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as file:
        return file.execute(sql).fetchall()


@pytest.fixture(scope="module")
def home(built_home, tmp_path_factory) -> GtmHome:
    path = tmp_path_factory.mktemp("agents") / "gtm"
    shutil.copytree(built_home.path, path)
    return GtmHome(path)


def test_an_agent_lists_describes_asks_and_explains(home):
    async def asked() -> None:
        async with agent(home) as client:
            tools = (await client.list_tools()).tools
            assert {tool.name for tool in tools} == TOOLS
            assert all(tool.annotations.read_only_hint and tool.description for tool in tools)

            metrics = {metric["name"]: metric for metric in await told(client, "list_metrics")}
            assert metrics["bookings"]["definition"].startswith(
                "sum of amount_converted in gtm_core.fct_opportunity"
            )
            described = await told(client, "describe_metric", metric="bookings")
            assert "account__segment" in described["dimensions"]
            assert "salesforce.opportunity" in described["raw_tables"]

            by = {"group_by": ["metric_time__month", "account__segment"], "limit": 1000}
            days = {"first_day": "2026-04-01", "last_day": "2026-08-31"}
            answer = await told(client, "query_metrics", metrics=["bookings", "won_deals"], **by, **days)
            ((amount, deals),) = query(
                home.published,
                "select sum(amount_converted), count(*) from gtm_core.fct_opportunity"
                " where is_won and close_date between '2026-04-01' and '2026-08-31'",
            )
            assert sum(Decimal(row["bookings"]) for row in answer["rows"]) == amount > 0
            assert sum(row["won_deals"] for row in answer["rows"]) == deals
            assert not answer["is_cut_off"] and answer["as_of"].startswith("2026-09-1")

            condition = {"dimension": "account__segment", "operator": "in", "values": ["Startup", "Enterprise"]}
            of_two = await told(
                client,
                "query_metrics",
                metrics=["bookings"],
                group_by=["account__segment"],
                conditions=[condition],
            )
            assert {row["account__segment"] for row in of_two["rows"]} == {"Startup", "Enterprise"}

            one = await told(
                client, "query_metrics", metrics=["won_deals"], group_by=["owner__user_name"], limit=1
            )
            assert len(one["rows"]) == 1 and one["is_cut_off"]

            found = await told(client, "explain_number", metric="bookings", month="2026-08", records=2)
            assert found["parts"][0]["adds_up"] and len(found["parts"][0]["records"]) == 2
            assert found["parts"][0]["records"][0]["versions"][0]["batch_id"].startswith("opportunity-")
            assert found["checks"]["by_outcome"]["passed"] > 20

            health = await told(client, "data_health")
            ((passed,),) = query(home.published, "select checks_passed from gtm_meta.publication")
            assert health["checks_passed"] == passed and health["shows_all"]

    asyncio.run(asked())


def test_what_can_not_be_asked_is_said_and_nothing_but_values_reaches_the_database(home, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("secret\n1\n")

    async def asked() -> None:
        async with agent(home) as client:
            said = await refused(client, "query_metrics", metrics=["booking"])
            assert "is not a metric. Did you mean bookings" in said
            said = await refused(client, "query_metrics", metrics=["bookings"], group_by=["colour"])
            assert "can't be asked so" in said
            said = await refused(client, "query_metrics", metrics=["bookings"], limit=5000)
            assert "the limit is 1 to 1000" in said
            said = await refused(client, "query_metrics", metrics=["bookings"], first_day="yesterday")
            assert "is not a day" in said
            said = await refused(client, "explain_number", metric="bookings", month="2019-01")
            assert "has no record in 2019-01" in said
            for dimension in ("1 = 1 or account__segment", f"(select secret from '{secret}')"):
                condition = {"dimension": dimension, "values": ["x"]}
                said = await refused(client, "query_metrics", metrics=["bookings"], conditions=[condition])
                assert "is not a dimension" in said
            condition = {"dimension": "account__segment", "values": ["{{ Dimension('opportunity__is_won') }}"]}
            assert "braces" in await refused(client, "query_metrics", metrics=["bookings"], conditions=[condition])
            condition = {
                "dimension": "account__segment",
                "values": [f"x' or '1' = (select secret from '{secret}')"],
            }
            answer = await told(client, "query_metrics", metrics=["won_deals"], conditions=[condition])
            assert [row["won_deals"] for row in answer["rows"]] in ([0], [None], [])
            condition = {"dimension": "account__segment", "operator": "is null", "values": ["x"]}
            assert "takes no values" in await refused(
                client, "query_metrics", metrics=["bookings"], conditions=[condition]
            )

    asyncio.run(asked())


def test_a_file_that_was_shared_tells_its_person_what_they_may_see(home, tmp_path):
    """Of a seller, their own deals: not those of others, no checks that quote records, and no lake."""
    ((email, key),) = query(
        home.published,
        "select email, user_key from gtm_core.dim_user"
        " inner join gtm_core.fct_opportunity on user_key = owner_user_key"
        " where is_won and email is not null group by all order by count(*) desc limit 1",
    )
    # Somebody has to see all rows.
    home.command("access", "grant", "boss", "--role", "administrator", "--scope", "all").check()
    granted = home.command("access", "grant", "seller", "--role", "analyst", "--scope", "own", "--user", email)
    granted.check()
    file = tmp_path / "seller.duckdb"
    home.command("share", str(file), "--user", "seller", "--role", "analyst").check()

    async def asked() -> None:
        async with agent(home, "--file", str(file)) as client:
            answer = await told(client, "query_metrics", metrics=["won_deals"], group_by=["owner"])
            ((own, all_),) = query(
                home.published,
                f"select count(*) filter (owner_user_key = '{key}'), count(*)"
                " from gtm_core.fct_opportunity where is_won",
            )
            assert [row["won_deals"] for row in answer["rows"]] == [own] and own < all_
            found = await told(client, "explain_number", metric="won_deals")
            assert found["value"] == own and found["parts"][0]["adds_up"]
            assert not any(record["versions"] for record in found["parts"][0]["records"])
            assert any("the lake, is not masked" in said for said in found["not_followed"])
            assert any("checks are not told" in said for said in found["not_followed"])
            health = await told(client, "data_health")
            assert not health["shows_all"] and health["findings"] == "not told to this reader"

    asyncio.run(asked())


@needs_postgres
def test_on_a_server_an_agent_sees_what_its_persons_login_sees(home, tmp_path):
    """By the views, of a seller their own deals, and of totals over everybody nothing."""
    from gtm_assets.dbt.project import manifest_path
    from gtm_assets.engines.postgres_server import Server
    from gtm_assets.publishing.publish import descriptions
    from gtm_assets.serving.access import Enforcer
    from gtm_assets.serving.access_file import DEFAULT
    from gtm_assets.serving.copying import Copying

    ((email, key, own, amount),) = query(
        home.published,
        "select email, user_key, count(*), sum(amount_converted) from gtm_core.dim_user"
        " inner join gtm_core.fct_opportunity on user_key = owner_user_key"
        " where is_won and email is not null group by all order by count(*) desc limit 1",
    )
    people = tmp_path / "access.yml"
    people.write_text(
        f"{DEFAULT}  boss: {{roles: [administrator], scope: all}}\n"
        f"  seller: {{roles: [analyst], scope: own, user: {email}}}\n"
    )
    described = descriptions(json.loads(manifest_path().read_text()))
    with running(auth="scram-sha-256") as server, database(server) as address:
        place = Server(address, "GTM_SERVE_URL")
        Copying(place, "gtm_", tmp_path / "kept.duckdb", people).serve(home.published, described)
        enforcer = Enforcer(place, place, "gtm_", people, described)
        enforcer.apply()
        password = enforcer.rotate("seller")
        login = f"postgresql://seller:{password}@{address.partition('@')[2]}"

        async def asked() -> None:
            async with agent(home, GTM_MCP_URL=login) as client:
                by = {"group_by": ["owner", "metric_time__fiscal_quarter"], "limit": 1000}
                answer = await told(client, "query_metrics", metrics=["won_deals", "bookings"], **by)
                assert {row["owner"] for row in answer["rows"]} == {key}
                assert sum(row["won_deals"] for row in answer["rows"]) == own
                assert sum(Decimal(row["bookings"] or 0) for row in answer["rows"]) == (amount or 0)
                found = await told(client, "explain_number", metric="won_deals")
                assert found["value"] == own and found["parts"][0]["adds_up"]
                assert not any(record["versions"] for record in found["parts"][0]["records"])
                health = await told(client, "data_health")
                assert not health["shows_all"] and health["place"].startswith("PostgreSQL at")
                assert password not in json.dumps(health)

        asyncio.run(asked())


@pytest.mark.parametrize(
    ("settings", "arguments", "said"),
    [
        ({"GTM_SERVE_URL": "postgresql://gtm:x@127.0.0.1:9/gtm"}, (), "Set GTM_MCP_URL"),
        ({}, ("--file", "/nowhere.duckdb"), "nothing is published at /nowhere.duckdb"),
    ],
)
def test_without_a_view_of_the_persons_own_it_does_not_begin(home, settings, arguments, said):
    other = GtmHome(home.path, (*home.settings, *settings.items()))
    ended = other.command("mcp", *arguments)

    assert ended.code == 1 and said in " ".join(ended.output.split())


def test_what_it_tells_of_is_json(home):
    """What a tool gives stands as text too, for clients that read no structures."""

    async def asked() -> None:
        async with agent(home) as client:
            answer = await client.call_tool("data_health", {})
            assert json.loads(answer.content[0].text)["place"].endswith("gtm.duckdb")

    asyncio.run(asked())
