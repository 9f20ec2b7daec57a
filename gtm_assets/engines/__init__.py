"""Engines beside DuckDB that a warehouse can be built on.

Each is an extra: nothing imports it unless it is asked for.
"""
