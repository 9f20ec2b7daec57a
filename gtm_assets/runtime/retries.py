"""What is tried again, and what is not.

A step waits and tries again where the failure may pass: the network, a source under load, a lock. Everything else
fails at once. A run is repeated by Dagster's daemon only where its process died, and only where a schedule or a
sensor had started it: these runs carry :data:`REPEATED_WHEN_KILLED`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import duckdb
import requests

from gtm_assets.errors import MayPass
from gtm_assets.runtime.dagster_internals import MAX_RETRIES_TAG

TRIES = 3
GROWTH = 4
"""Each wait is so many times the one before."""
REPEATED_WHEN_KILLED = {MAX_RETRIES_TAG: "2"}


@contextmanager
def retried(context: dg.OpExecutionContext | dg.AssetExecutionContext, first_wait: float) -> Iterator[None]:
    """Try the step again, at most three times in all, where the block fails by what may pass.

    ``first_wait`` is in seconds.

    Raises:
        dagster.RetryRequested: the failure may pass.
    """
    try:
        yield
    except Exception as error:
        if not may_pass(error):
            raise
        raise dg.RetryRequested(
            max_retries=TRIES - 1, seconds_to_wait=first_wait * GROWTH**context.retry_number
        ) from error


def may_pass(error: Exception) -> bool:
    """Whether the same step may succeed a little later, with nothing mended."""
    match error:
        case MayPass() | ConnectionError() | TimeoutError():
            return True
        case requests.HTTPError():
            return error.response is not None and (
                error.response.status_code == 429 or error.response.status_code >= 500
            )
        case requests.exceptions.SSLError() | requests.exceptions.InvalidURL():
            return False
        case requests.ConnectionError() | requests.Timeout() | requests.exceptions.ChunkedEncodingError():
            return True
        case sqlite3.OperationalError():
            return "locked" in str(error)
        case duckdb.IOException():
            return "Could not set lock" in str(error)
    return False
