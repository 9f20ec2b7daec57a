"""What is looked at each hour on the server that people share: who read what, and what it costs."""

from typing import Any

import dagster as dg
from adbc_driver_postgresql import dbapi

from gtm_assets import clock
from gtm_assets.engines.postgres_server import Server, in_one_line
from gtm_assets.finding import Finding
from gtm_assets.runtime.retries import retried
from gtm_assets.serving import budgets
from gtm_assets.serving.access import Enforcer
from gtm_assets.serving.access_file import Access, AccessError
from gtm_assets.serving.audit_log import AuditLog
from gtm_assets.serving.credentials import days_allowed
from gtm_assets.serving.names import (
    ASSET_KEY,
    AUDIT_KEY,
    AUDITED_CHECK,
    BUDGETS_CHECK,
    COSTS_KEY,
    CREDENTIALS_CHECK,
    GROUP,
    SLOW_CHECK,
    TELLS,
    WAITS_CHECK,
)
from gtm_assets.serving.query_costs import QueryCosts
from gtm_assets.serving.securing import Names
from gtm_assets.settings import Settings

SLOW_SECONDS = 10
LONG_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 300, 900
_WARN = dg.AssetCheckSeverity.WARN


def audit_asset(settings: Settings, server: Server, enforcer: Enforcer) -> dg.AssetsDefinition:
    """The server's log of who read personal and financial data, and whether it is one."""
    names = Names(settings.schema_prefix)
    logged, rotated = (dg.AssetCheckKey(AUDIT_KEY, name) for name in (AUDITED_CHECK, CREDENTIALS_CHECK))

    @dg.asset(
        key=AUDIT_KEY,
        deps=[ASSET_KEY],
        group_name=GROUP,
        kinds={"postgres"},
        tags={"layer": "served"},
        description=f"Who read personal and financial data on {server.place}: view "
        f"{names.audit}.v_data_access_log, "
        f"{settings.audit_days:,} days of it.",
        check_specs=[
            dg.AssetCheckSpec(
                AUDITED_CHECK,
                asset=AUDIT_KEY,
                description="The server logs each read of personal and financial data, and we may read its log.",
            ),
            dg.AssetCheckSpec(
                CREDENTIALS_CHECK,
                asset=AUDIT_KEY,
                description="No login's credential is older than those of its kind may become.",
            ),
        ],
    )
    def audit(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with retried(context, settings.retry_seconds):
            finding = enforcer.audited()
            metadata: dict[str, Any] = {}
            if finding.passed:
                try:
                    reading = AuditLog(server, names).read(settings.audit_days)
                except dbapi.Error as error:
                    finding = Finding(False, f"The server's log can't be read ({in_one_line(error)}).", _WARN)
                else:
                    metadata = {
                        "files": reading.files,
                        "bytes": reading.bytes,
                        "statements": reading.statements,
                        "damaged_lines": reading.damaged,
                    }
            return dg.MaterializeResult(
                metadata=metadata,
                check_results=[
                    finding.result(logged),
                    enforcer.credentials(days_allowed(settings)).result(rotated),
                ],
            )

    return audit


def costs_asset(settings: Settings, server: Server, enforcer: Enforcer) -> dg.AssetsDefinition:
    """What queries cost on the server, and whether that is within what the access file allows."""
    names = Names(settings.schema_prefix)
    checks = {name: dg.AssetCheckKey(COSTS_KEY, name) for name in (BUDGETS_CHECK, SLOW_CHECK, WAITS_CHECK)}

    @dg.asset(
        key=COSTS_KEY,
        deps=[AUDIT_KEY],
        group_name=GROUP,
        kinds={"postgres"},
        tags={"layer": "served"},
        description=f"What queries cost on {server.place}, by day, login and query: table "
        f"{names.meta}.query_daily.",
        check_specs=[
            dg.AssetCheckSpec(
                BUDGETS_CHECK,
                asset=COSTS_KEY,
                description="No role has used most of its query time of the month. One for queries of the "
                "moment that has used all of it is refused.",
            ),
            dg.AssetCheckSpec(
                SLOW_CHECK,
                asset=COSTS_KEY,
                description=f"95 % of each role's statements of a day end within {SLOW_SECONDS} seconds.",
            ),
            dg.AssetCheckSpec(
                WAITS_CHECK,
                asset=COSTS_KEY,
                description=f"Nobody waits longer than {LONG_WAIT_SECONDS // 60} minutes for a lock, on average.",
            ),
        ],
    )
    def costs(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with retried(context, settings.retry_seconds):
            watch = CostWatch(QueryCosts(server, names), enforcer, names)
            findings = watch.look()
        return dg.MaterializeResult(
            metadata={"queries_called": watch.called},
            check_results=[findings[name].result(key) for name, key in checks.items()],
        )

    return costs


class CostWatch:
    """One look at what queries cost."""

    def __init__(self, costs: QueryCosts, enforcer: Enforcer, names: Names) -> None:
        """Nothing is asked yet."""
        self._costs, self._enforcer, self._names = costs, enforcer, names
        self.called = 0
        """How many queries were called since the last look."""

    def look(self) -> dict[str, Finding]:
        """What each check finds. A role whose budget is used up is refused."""
        access = self._enforcer.access
        if lacks := self._costs.not_counted():
            budget = Finding(False, f"What queries cost is not counted: {'; '.join(lacks)}.", _WARN)
        else:
            self.called = self._costs.snapshot()
            budget = self._keep_budgets(access)
        return {BUDGETS_CHECK: budget, SLOW_CHECK: self._slow(access), WAITS_CHECK: self._waits()}

    def _keep_budgets(self, access: Access) -> Finding:
        now = clock.now()
        roles = budgets.used(access, self._names.prefix, self._costs.seconds_by_login(now))
        troubles = []
        if self._enforcer.is_in_force:
            try:
                self._enforcer.end_refusals()
                decided = self._enforcer.refusals_decided()
                for role in budgets.used_up(access, roles):
                    if role not in decided:
                        self._enforcer.refuse_role(role)
            except AccessError as error:
                troubles.append(f"{error}.")
        refused = [f"{role} is refused until the month ends" for role in sorted(self._enforcer.refused())]
        sentence = (
            "; ".join([*(one.sentence for one in roles if one.budget_seconds), *refused]) or "There is no budget"
        )
        tells = budgets.told(roles, now)
        title = "a role whose query time is used up can't be refused, or let in again"
        tells += [{"key": "refusal", "severity": "critical", "title": title, "detail": one} for one in troubles]
        severities = {one["severity"] for one in tells}
        return Finding(
            severities <= {"notice"},
            " ".join([f"{sentence}.", *troubles]),
            dg.AssetCheckSeverity.ERROR if "critical" in severities else _WARN,
            figures={TELLS: dg.MetadataValue.json(tells)} if tells else {},
        )

    def _slow(self, access: Access) -> Finding:
        found = self._costs.slowest({role: access.who_has(role) for role in access.roles}, clock.now())
        said = [f"{role} {seconds:,.1f} seconds" for role, seconds in sorted(found.items())]
        slow = [role for role, seconds in found.items() if seconds > SLOW_SECONDS]
        if not found:
            return Finding(True, "Too few statements to say: they are counted where log_duration = on.")
        within = f"95 % of the statements of the last day ended within: {', '.join(said)}."
        return Finding(not slow, within + (" What costs most: gtm cost." if slow else ""), _WARN)

    def _waits(self) -> Finding:
        waits = self._costs.waits(clock.now())
        if waits.count == 0:
            return Finding(True, "Nobody waited for a lock in the last hour.")
        return Finding(
            waits.seconds <= LONG_WAIT_SECONDS,
            f"In the last hour it was waited {waits.count:,} times for a lock, for {waits.seconds:,.0f} seconds "
            "on average. Who holds locks: select * from pg_stat_activity where state <> 'idle'.",
            _WARN if waits.seconds <= LONGEST_WAIT_SECONDS else dg.AssetCheckSeverity.ERROR,
        )
