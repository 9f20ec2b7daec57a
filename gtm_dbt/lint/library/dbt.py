"""For sqlfluff, which has no engine: dbt's own cross-database macros become calls of their names."""


def date_trunc(part, day):
    """Stand-in for dbt's macro."""
    return f"date_trunc('{part}', {day})"


def dateadd(part, interval, day):
    """Stand-in for dbt's macro."""
    return f"dateadd('{part}', {interval}, {day})"


def datediff(first, second, part):
    """Stand-in for dbt's macro."""
    return f"datediff('{part}', {first}, {second})"


def last_day(day, part):
    """Stand-in for dbt's macro."""
    return f"last_day({day}, '{part}')"
