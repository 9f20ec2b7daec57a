"""Dagster's own machinery: the instance, its event log, runs and retries."""
