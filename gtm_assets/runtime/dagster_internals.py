"""All that the platform uses of Dagster's private API, which may change with any release.

No other module imports ``dagster._*`` or ``dagster_shared``. A contract test names each symbol and what is used of
it, so that an upgrade fails there and is mended here.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.execution.stats import RunStepKeyStatsSnapshot, StepEventStatus
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    MAX_RETRIES_TAG,
    PARTITION_NAME_TAG,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._serdes import ConfigurableClassData
from dagster_shared.error import SerializableErrorInfo

__all__ = [
    "ASSET_CHECK_EVENTS",
    "ASSET_EVENTS",
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "FINISHED_STATUSES",
    "IMPLICIT_ASSET_JOB_NAME",
    "MAX_RETRIES_TAG",
    "PARTITION_NAME_TAG",
    "AssetCheckExecutionRecord",
    "AssetCheckExecutionRecordStatus",
    "AssetCheckExecutionsTable",
    "BulkActionStatus",
    "BulkActionsFilter",
    "ConfigurableClassData",
    "InstanceRef",
    "LoadableTargetOrigin",
    "ManagedGrpcPythonEnvCodeLocationOrigin",
    "ReconstructableRepository",
    "RemoteJobOrigin",
    "RemoteRepositoryOrigin",
    "RunStepKeyStatsSnapshot",
    "SerializableErrorInfo",
    "SqlEventLogStorage",
    "SqlEventLogStorageTable",
    "SqliteEventLogStorage",
    "StepEventStatus",
    "UnresolvedAssetJobDefinition",
    "execute_run_iterator",
]


def dagster_dev(arguments: Sequence[str], name: str) -> None:
    """Dagster's own ``dagster dev``, in this process; its help calls it ``name``. Ends by ``SystemExit``."""
    # Imported here: it takes a second that no other command needs.
    from dagster._cli.dev import dev_command

    # The warning recommends another package's command, which is of no use here.
    warnings.filterwarnings("ignore", message="Function `dev_command` is superseded")
    dev_command.main(list(arguments), prog_name=name)
