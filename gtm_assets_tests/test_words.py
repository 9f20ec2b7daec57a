"""One word has one meaning: a name that was given up is used nowhere but where it is still read."""

import re
import subprocess

from gtm_assets.settings import PROJECT_DIR

GIVEN_UP = {
    "another loader's tables are external": (
        r"LANDING_DATABASE|landing_database|SALESFORCE_SOURCE\W+landed|is_landed\b|[Ll]anded_?[Tt]able|LandingError"
        r"|landing[ _]mode|landing_is_sound|landing_now|macros/landing"
        r"|landed_(?:name|flaws|misfits|asset|value|history)\b"
    ),
    "all records are taken by full_extraction": (
        r"full_refresh_weekly|(?<!flags\.)\bFULL_REFRESH\b|jobs\.full_refresh|job `?full_refresh"
    ),
    "checks reconcile": r"\b(?:Source|Report|Record)Tie\b|_TIES\b|name=\"prove\"",
    "private metaphors": r"\b_Desk\b|\bTicked\b|synthetic[./]chance\b|live[./]examination\b|\.busy\b",
}
ALIASES = {
    "CHANGELOG.md",
    "docs/decisions.md",
    "docs/external-warehouse.md",
    "gtm_assets/settings.py",
    "gtm_assets/publishing/publish.py",
    "gtm_assets/runtime/instance.py",
    "gtm_assets_tests/test_settings.py",
    "gtm_assets_tests/test_publish.py",
    "gtm_assets_tests/test_instance.py",
    "gtm_assets_tests/test_dbt_external.py",
    "gtm_assets_tests/test_gtm_external.py",
    "gtm_assets_tests/test_words.py",
}
"""Files that read an old name for one release more, say that it was renamed, or test that."""
MACROS_WITH_ALIASES = "gtm_dbt/macros/external/"
TEXTS = (".py", ".sql", ".yml", ".md", ".example", ".toml", ".cfg", "Makefile")


def found(text: str) -> list[str]:
    """The names in a text that were given up."""
    return [match[0] for pattern in GIVEN_UP.values() for match in re.finditer(pattern, text)]


def test_no_name_that_was_given_up_is_used():
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    files = [
        name
        for name in listed.stdout.splitlines()
        if name.endswith(TEXTS) and name not in ALIASES and not name.startswith(MACROS_WITH_ALIASES)
    ]

    assert len(files) > 300
    uses = {name: found(path.read_text()) for name in files if (path := PROJECT_DIR / name).exists()}
    assert {name: names for name, names in uses.items() if names} == {}


def test_the_names_that_stay_are_not_among_them():
    ours = "Lake.land, GTM_LANDING_LATE_MINUTES, landed_on_time, tables_in_scope_are_landed, not_landed"
    assert found(ours + ", flags.FULL_REFRESH, gtm run --full-refresh, full_refresh=True, fivetran_landing") == []
    old = "GTM_LANDING_DATABASE GTM_SALESFORCE_SOURCE=landed full_refresh_weekly SourceTie table.busy LandedTable"
    assert len(found(old)) == 6
