"""The dbt project in Dagster: how its nodes become assets, and how a step builds them."""

import difflib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtProject, build_dbt_asset_selection, dbt_assets
from dagster_dbt.asset_utils import get_dbt_resource_names_for_asset_keys, get_dbt_test_names_for_check_keys
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.dbt.external import ExternalTable
from gtm_assets.dbt.inspection import check_readable
from gtm_assets.dbt.lineage import ColumnLineage
from gtm_assets.dbt.process import ExternalListed, NodeEnded, RebuildsDecided, WrittenByOthers, build_beside
from gtm_assets.dbt.project import DBT_DIR, SYNTHETIC_TAG, TransformError, build_arguments
from gtm_assets.dbt.tests import failure, meaning
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.finding import Finding
from gtm_assets.lake.store import Lake
from gtm_assets.runtime.dagster_internals import IMPLICIT_ASSET_JOB_NAME
from gtm_assets.runtime.event_log import forget_planned_checks
from gtm_assets.runtime.retries import retried
from gtm_assets.settings import Settings

LAYERS = ("seeds", "staging", "intermediate", "core", "mart", "certified")
"""The groups of the dbt assets, upstream first: the folders of the project."""
PUBLISHED_LAYERS = ("core", "mart")
"""Whose tables are published."""
VIEWS_LAYER = "certified"
"""Whose models are views of those, made anew where they are published."""
OWNER = "team:revops"
BUILD_OP = "build_models"
_COLUMNS = "dagster/column_schema"
STANDS_FROM = "stands_from"
"""Metadata of what was left out, as nothing that it is made of has changed: the run that built it."""

# -- nodes as assets ------------------------------------------------------------------------------------------


class Translator(DagsterDbtTranslator):
    """How a dbt node looks in Dagster. One method per attribute; keys are schema and name, dbt's default."""

    def __init__(self, groups: Mapping[str, str] = MappingProxyType({}), of_synthetic_org: bool = True) -> None:
        """``groups`` are those of nodes, by unique id, whose group is not their layer.

        Tests that hold of the synthetic organisation alone are no checks of another one.
        """
        super().__init__()
        self._groups, self._of_synthetic_org = groups, of_synthetic_org

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The layer, the first folder below ``models`` or ``seeds``, unless :func:`groups` names another group."""
        if dbt_resource_props["resource_type"] == "source":
            return f"{dbt_resource_props['source_name']}_raw"
        return self._groups.get(dbt_resource_props["unique_id"], layer_of(dbt_resource_props))

    def get_tags(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, str]:
        """dbt's tags, and the layer."""
        return {**super().get_tags(dbt_resource_props), "layer": layer_of(dbt_resource_props)}

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> Sequence[str]:
        """The owners in the node's meta, else the team."""
        return super().get_owners(dbt_resource_props) or [OWNER]

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The description alone: the SQL is one click away in the code and would bury it."""
        return dbt_resource_props.get("description") or ""

    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        """The columns, those of personal data with their tier as a tag, and the file that makes them."""
        metadata = {**super().get_metadata(dbt_resource_props)}
        schema = metadata.get(_COLUMNS)
        if schema is not None:
            described = dbt_resource_props["columns"]
            metadata[_COLUMNS] = dg.TableSchema(
                [
                    dg.TableColumn(
                        column.name,
                        column.type,
                        column.description,
                        tags={**column.tags, **_tier(described[column.name])},
                    )
                    for column in schema.columns
                ]
            )
        return {**metadata, "dagster/code_references": _made_by(dbt_resource_props["original_file_path"])}

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetCheckSpec | None:
        """dbt's test as a check that says what holds where it passes."""
        if not self._of_synthetic_org and SYNTHETIC_TAG in manifest["nodes"][unique_id]["tags"]:
            return None
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return spec and spec._replace(description=meaning(manifest["nodes"][unique_id]))


def _made_by(path: str) -> dg.CodeReferencesMetadataValue:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        file = dg.LocalFileCodeReference(file_path=str(DBT_DIR / path), label=path)
        return dg.CodeReferencesMetadataValue(code_references=[file])


def _tier(column: Mapping[str, Any]) -> dict[str, str]:
    tier = column.get("meta", {}).get("pii")
    return {"pii": tier} if tier else {}


def layer_of(dbt_resource_props: Mapping[str, Any]) -> str:
    """The layer of a node: raw, seeds, staging, intermediate, core or mart."""
    kind = dbt_resource_props["resource_type"]
    if kind == "source":
        return "raw"
    return "seeds" if kind == "seed" else dbt_resource_props["fqn"][1]


def groups(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The groups of the intermediate models that read core, by unique id: core where core reads them, else mart.

    With them among the others that core is made of, the graph of groups would lead from core back to intermediate.
    """
    layers = {
        id_: layer_of(node)
        for id_, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "seed")
    }

    def related(id_: str, relation: Mapping[str, Sequence[str]]) -> set[str]:
        """The layers of all that stands above or below a node."""
        found: set[str] = set()
        waiting = [id_]
        while waiting:
            new = {other for other in relation[waiting.pop()] if other in layers} - found
            found |= new
            waiting += new
        return {layers[other] for other in found}

    parents, children = manifest["parent_map"], manifest["child_map"]
    return {
        id_: "core" if "core" in related(id_, children) else "mart"
        for id_, layer in layers.items()
        if layer == "intermediate" and "core" in related(id_, parents)
    }


# -- building -------------------------------------------------------------------------------------------------


class TransformConfig(dg.Config):
    """How to build."""

    full_refresh: bool = False
    """Rebuild incremental models from the whole lake."""
    force: bool = False
    """Build also what has not changed since it was built."""
    unit_tests: bool = False
    """Run the unit tests of the selected models too. They prove the code, not the data."""


class DbtBuild:
    """Builds dbt nodes under the warehouse's lock, and tells Dagster of each as it ends."""

    def __init__(
        self, settings: Settings, warehouse: Warehouse, lake: Lake, tables: Sequence[RawTable] = ()
    ) -> None:
        """Nothing is opened before :meth:`run`. ``tables`` are those that the lake holds."""
        self._settings, self._warehouse, self._lake, self._tables = settings, warehouse, lake, tables

    def run(
        self,
        context: dg.AssetExecutionContext,
        manifest: Mapping[str, Any],
        translator: Translator,
        config: TransformConfig,
    ) -> Iterator[Any]:
        """Build what the context selects; yield an ``Output`` per model and an ``AssetCheckResult`` per test.

        Raises:
            TransformError: a node failed. What does not depend on it was built.
            LakeError: a batch that is new to the warehouse can't be read.
            ExternalError: in external mode, the external database can't be read.
        """
        selection = selected(context, manifest, translator)
        if config.unit_tests:
            selection += _unit_tests(context, manifest)
        arguments = build_arguments(
            selection, config.full_refresh, config.unit_tests, of_synthetic_org=self._settings.is_synthetic
        )
        with (
            retried(context, self._settings.retry_seconds),
            self._warehouse.locked(f"run {context.run_id[:8]}", context.log.info),
        ):
            if self._settings.is_external:
                check_readable(self._settings.external_database)
            else:
                self._verify_new_batches(config.full_refresh)
            try:
                yield from self._events(context, manifest, translator, arguments, _is_forced(context, config))
            except TransformError:
                # The one failure is the build's. What was not built is not looked at, and nothing comes after it.
                forget_planned_checks(context.instance, context.run.run_id)
                raise

    def _verify_new_batches(self, full_refresh: bool) -> None:
        """Find an unreadable batch before dbt stumbles over it. Only batches not yet consumed are opened."""
        self._lake.verify_all(except_for=set() if full_refresh else self._warehouse.engine.consumed())

    def _events(
        self,
        context: dg.AssetExecutionContext,
        manifest: Mapping[str, Any],
        translator: Translator,
        arguments: list[str],
        force: bool,
    ) -> Iterator[Any]:
        left_out = 0
        lineage = ColumnLineage(manifest, translator, self._settings.dbt_compiled_dir, self._warehouse.engine.name)
        context.log.info(f"Building on {self._warehouse.engine.place}.")
        for event in build_beside(
            arguments, self._settings, self._warehouse.path, context.run_id, force, self._tables
        ):
            if isinstance(event, ExternalListed):
                for table in event.tables:
                    context.log_event(observation(table))
                continue
            if isinstance(event, WrittenByOthers):
                context.log.warning(
                    f"Somebody else has written {', '.join(event.tables)} since the last build: nothing is left "
                    "out as unchanged, and incremental models among them are built afresh."
                )
                continue
            if isinstance(event, RebuildsDecided):
                for reason, models in event.models.items():
                    context.log.info(f"Built afresh because {reason}: {', '.join(models)}")
                continue
            node = event.message["data"]["node_info"]
            left_out += event.stands_from is not None
            if node["resource_type"] == "unit_test":
                context.log.info(f"unit test {node['node_name']}: {event.message['data']['status']}")
                continue
            dbt_event = DbtCoreCliEventMessage(raw_event=dict(event.message), event_history_metadata={})
            for result in dbt_event.to_default_asset_events(manifest, translator, context=context):
                columns = lineage.metadata(node["unique_id"], context.instance)
                yield _completed(result, event, manifest, columns)
        if left_out:
            context.log.info(
                f"{left_out:,} tables, views and tests were left out: nothing that they are made of has changed "
                "since they were built."
            )


def _is_forced(context: dg.AssetExecutionContext, config: TransformConfig) -> bool:
    """Whether everything selected is built, changed or not: it was asked for, or a person chose it in the UI."""
    return config.force or context.job_name == IMPLICIT_ASSET_JOB_NAME


def selected(context: dg.AssetExecutionContext, manifest: Mapping[str, Any], translator: Translator) -> list[str]:
    """The models and tests that a run selects, each by its fully qualified name; nothing where it selects all.

    Left to itself dbt would also run the tests of other models that read one of these: those are no checks of this
    run, and Dagster would warn of each.
    """
    definition = context.assets_def
    if (
        definition.keys_by_output_name == definition.node_keys_by_output_name
        and definition.check_specs_by_output_name == definition.node_check_specs_by_output_name
    ):
        return []
    return [
        *get_dbt_resource_names_for_asset_keys(translator, manifest, definition, context.selected_asset_keys),
        *get_dbt_test_names_for_check_keys(translator, manifest, definition, context.selected_asset_check_keys),
    ]


def _unit_tests(context: dg.AssetExecutionContext, manifest: Mapping[str, Any]) -> list[str]:
    """The unit tests of the models that a run selects, by their fully qualified names."""
    specs = (context.assets_def.get_asset_spec(key) for key in context.selected_asset_keys)
    models = {spec.metadata["dagster_dbt/unique_id"] for spec in specs}
    return [".".join(t["fqn"]) for t in manifest["unit_tests"].values() if models & set(t["depends_on"]["nodes"])]


def observation(table: ExternalTable) -> dg.AssetObservation:
    """What the UI shows of an external table: its rows and how fresh they are."""
    metadata: dict[str, Any] = {"in_external_database": table.external_name is not None}
    if table.external_name is not None:
        metadata |= {
            "dagster/row_count": table.row_count,
            "history_mode": table.has_history,
            "columns_not_in_catalogue": ", ".join(table.unknown_columns),
            "columns_not_in_external_database": ", ".join(table.missing_columns),
        }
    if table.newest_synced_at:
        metadata["dagster/last_updated_timestamp"] = dg.MetadataValue.timestamp(table.newest_synced_at)
    if table.misfits:
        metadata["problems"] = dg.MetadataValue.md("\n".join(f"- {misfit}" for misfit in table.misfits))
    return dg.AssetObservation(dg.AssetKey([table.source, table.name]), metadata=metadata)


def _completed(
    result: Any, ended: NodeEnded, manifest: Mapping[str, Any], lineage: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """What dagster-dbt makes of a node's end, with rows, how many there are or those that failed, and lineage."""
    if isinstance(result, dg.Output):
        metadata: dict[str, Any] = {**result.metadata, **lineage}
        if ended.row_count is not None:
            metadata["dagster/row_count"] = dg.MetadataValue.int(ended.row_count)
        if ended.built_afresh_because:
            metadata["built_afresh_because"] = "; ".join(ended.built_afresh_because)
        if ended.stands_from is not None:
            metadata[STANDS_FROM] = dg.MetadataValue.dagster_run(ended.stands_from)
        return result.with_metadata(metadata)
    if isinstance(result, dg.AssetCheckResult) and ended.stands_from is not None:
        return result._replace(
            metadata={**result.metadata, STANDS_FROM: dg.MetadataValue.dagster_run(ended.stands_from)}
        )
    if isinstance(result, dg.AssetCheckResult) and not result.passed:
        node = manifest["nodes"][ended.message["data"]["node_info"]["unique_id"]]
        count = result.metadata.get("dagster_dbt/failed_row_count")
        if count is None or not isinstance(count.value, int):
            return result._replace(description=f"dbt could not ask whether it holds: {meaning(node)}")
        found = Finding(False, "", sql=ended.failing_sql, sample=ended.failing_rows).metadata()
        return result._replace(
            metadata={**result.metadata, **found},
            description=failure(node, count.value, ended.failing_rows),
        )
    return result


def transform_assets(manifest: Mapping[str, Any], of_synthetic_org: bool = True) -> dg.AssetsDefinition:
    """All models, seeds and tests of the dbt project, built by one op."""

    # One for all events: it remembers the specs that it has made.
    translator = Translator(groups(manifest), of_synthetic_org)

    @dbt_assets(manifest=manifest, dagster_dbt_translator=translator, name=BUILD_OP)
    def transform(
        context: dg.AssetExecutionContext, config: TransformConfig, dbt_build: dg.ResourceParam[DbtBuild]
    ) -> Iterator[Any]:
        yield from dbt_build.run(context, manifest, translator, config)

    return transform


def selected_models(defs: dg.Definitions, selections: Sequence[str]) -> list[dg.AssetKey]:
    """The models and seeds that dbt's selection syntax names, upstream first.

    Raises:
        TransformError: a selection is of no model and no seed.
    """
    definitions = (asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition))
    transform = next(definition for definition in definitions if definition.op.name == BUILD_OP)
    graph = defs.resolve_asset_graph()
    found: set[dg.AssetKey] = set()
    for selection in selections:
        keys = build_dbt_asset_selection([transform], dbt_select=selection).resolve(graph) & transform.keys
        if not keys:
            raise TransformError(f"{selection} selects no model.{_likely(selection, transform.keys)}")
        found |= keys
    return [key for key in graph.toposorted_asset_keys if key in found]


def _likely(selection: str, keys: Iterable[dg.AssetKey]) -> str:
    """The name that was meant, where one is like it."""
    found = difflib.get_close_matches(selection.strip("+@0123456789"), [key.path[-1] for key in keys], n=1)
    return f" Did you mean {found[0]}?" if found else " `dbt ls` lists the models; `+` and `tag:` work as in dbt."
