"""Settings: every variable typed and known, each mistake named."""

import re
from datetime import date
from pathlib import Path

import pytest

import gtm_assets
from gtm_assets import settings as settings_module
from gtm_assets.partitions import Calendar
from gtm_assets.settings import PROJECT_DIR, RenamedSetting, Settings, SettingsError, load_settings
from gtm_assets.sources.registry import SOURCES, refreshes


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder of its own, and an environment without GTM_ variables."""
    monkeypatch.setattr(settings_module, "PROJECT_DIR", tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"GTM_{name.upper()}", raising=False)
    return tmp_path


def test_without_any_variable_the_defaults_hold():
    settings = load_settings({})

    assert settings.home == PROJECT_DIR / ".gtm"
    assert (settings.start_date, settings.end_date) == (None, None)
    assert (settings.synthetic_scale, settings.synthetic_seed) == (0.01, 1)


def test_a_misspelt_variable_is_refused_with_the_name_that_was_meant():
    with pytest.raises(SettingsError, match="GTM_START_DAET is not a setting: did you mean GTM_START_DATE"):
        load_settings({"GTM_START_DAET": "2026-01-01"})


def test_a_variable_in_lower_case_is_refused_with_the_name_that_was_meant():
    with pytest.raises(SettingsError, match="gtm_home is not a setting: did you mean GTM_HOME"):
        load_settings({"gtm_home": "/data"})


def test_an_unknown_variable_is_refused_with_all_the_settings_there_are():
    with pytest.raises(SettingsError) as refusal:
        load_settings({"GTM_QQQQQQQQ": "1"})

    assert "GTM_QQQQQQQQ is not a setting" in str(refusal.value)
    assert all(f"GTM_{name.upper()}" in str(refusal.value) for name in Settings.model_fields)


def test_other_programs_variables_are_left_alone():
    assert load_settings({"GTMX": "1", "HOME": "/root", "DBT_GTM_HOME": "x"}) == load_settings({})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GTM_START_DATE", "2026-13-01"),
        ("GTM_START_DATE", "yesterday"),
        ("GTM_END_DATE", "2026-02-30"),
        ("GTM_SYNTHETIC_SCALE", "0"),
        ("GTM_SYNTHETIC_SCALE", "-1"),
        ("GTM_SYNTHETIC_SCALE", "101"),
        ("GTM_SYNTHETIC_SCALE", "nan"),
        ("GTM_SYNTHETIC_SCALE", "a lot"),
        ("GTM_SYNTHETIC_SEED", "1.5"),
        ("GTM_SYNTHETIC_SEED", "-1"),
        ("GTM_DBT_THREADS", "0"),
        ("GTM_MEMORY_LIMIT", "a lot"),
        ("GTM_MEMORY_LIMIT", "6"),
        ("GTM_SPARK_MEMORY", "a lot"),
        ("GTM_SPARK_SNAPSHOT_DAYS", "0"),
        ("GTM_MEMORY_LIMIT", "0GB"),
        ("GTM_MEMORY_LIMIT", "120%"),
        ("GTM_EXECUTOR", "celery"),
        ("GTM_SALESFORCE_SOURCE", "hubspot"),
    ],
)
def test_a_malformed_value_is_refused_with_its_name_its_value_and_what_it_holds(variable, value):
    with pytest.raises(SettingsError) as refusal:
        load_settings({variable: value})

    message = str(refusal.value)
    field = Settings.model_fields[variable.removeprefix("GTM_").lower()]
    assert message.startswith(f"{variable}={value!r}: ")
    assert message.endswith(f"It holds: {field.description}")


def test_all_mistakes_are_told_at_once():
    with pytest.raises(SettingsError) as refusal:
        load_settings({"GTM_SYNTHETIC_SCALE": "0", "GTM_DBT_THREADS": "none"})

    assert [line.split("=")[0] for line in str(refusal.value).splitlines()] == [
        "GTM_SYNTHETIC_SCALE",
        "GTM_DBT_THREADS",
    ]


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_counts_as_not_set(empty):
    given = {f"GTM_{name.upper()}": empty for name in Settings.model_fields}

    assert load_settings(given) == load_settings({})


def test_blanks_around_a_value_do_no_harm():
    assert load_settings({"GTM_START_DATE": " 2026-02-01\n"}).start_date == date(2026, 2, 1)


def test_an_end_before_the_start_is_refused():
    with pytest.raises(SettingsError, match=r"^GTM_END_DATE 2026-01-31 is before GTM_START_DATE 2026-02-01$"):
        load_settings({"GTM_START_DATE": "2026-02-01", "GTM_END_DATE": "2026-01-31"})


def test_one_day_is_a_calendar(tmp_path):
    given = {"GTM_HOME": str(tmp_path), "GTM_START_DATE": "2026-02-01", "GTM_END_DATE": "2026-02-01"}

    assert Calendar.of(load_settings(given)) == Calendar(date(2026, 2, 1), date(2026, 2, 1))


@pytest.mark.parametrize("value", ["open", "OPEN", " Open ", ""])
def test_an_open_end_has_no_last_partition(tmp_path, value):
    given = {"GTM_HOME": str(tmp_path), "GTM_START_DATE": "2026-02-01", "GTM_END_DATE": value}

    assert Calendar.of(load_settings(given)) == Calendar(date(2026, 2, 1), None)


def test_a_relative_home_lies_in_the_project_whatever_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert load_settings({"GTM_HOME": "state"}).home == PROJECT_DIR / "state"
    assert load_settings({"GTM_HOME": str(tmp_path)}).home == tmp_path
    assert load_settings({"GTM_HOME": "~/state"}).home == Path.home() / "state"


def test_every_place_lies_under_home(tmp_path):
    settings = load_settings({"GTM_HOME": str(tmp_path)})

    places = [
        settings.lake_dir,
        settings.warehouse_path,
        settings.warehouse_lock_path,
        settings.published_path,
        settings.dagster_home,
        settings.dbt_target_dir,
    ]
    assert all(place.is_relative_to(tmp_path) for place in places)
    assert len(set(places)) == len(places)


def test_the_environment_wins_over_the_env_file(project, monkeypatch):
    (project / ".env").write_text("GTM_SYNTHETIC_SEED=7\nGTM_DBT_THREADS=5\n")
    monkeypatch.setenv("GTM_SYNTHETIC_SEED", "8")

    settings = load_settings()

    assert (settings.synthetic_seed, settings.dbt_threads) == (8, 5)


def test_an_empty_variable_leaves_the_env_files_value(project, monkeypatch):
    (project / ".env").write_text("GTM_SYNTHETIC_SEED=7\n")
    monkeypatch.setenv("GTM_SYNTHETIC_SEED", "")

    assert load_settings().synthetic_seed == 7


def test_a_misspelt_variable_in_the_env_file_is_refused(project):
    (project / ".env").write_text("GTM_HOEM=/data\nOTHER=1\n")

    with pytest.raises(SettingsError, match="GTM_HOEM is not a setting: did you mean GTM_HOME"):
        load_settings()


def test_settings_do_not_change_once_read():
    with pytest.raises(ValueError, match="frozen"):
        load_settings({}).synthetic_seed = 2


def test_only_the_settings_read_gtm_variables():
    reads = re.compile(
        r"""environ\.get\(|environ\.pop\(|environ\.setdefault\(|getenv\(|in\s+os\.environ|environ\.items\(\)
        |environ\[[^\]]+\](?!\s*=[^=])|from\s+os\s+import[^\n]*environ""",
        re.VERBOSE,
    )
    another_programs = re.compile(r"""["'](?!GTM_)[A-Z][A-Z0-9_]*["']""")
    package = Path(gtm_assets.__file__).parent
    sources = [path for path in package.rglob("*.py") if path.name != "settings.py"]

    found = [
        f"{path.relative_to(package)}:{number}: {line.strip()}"
        for path in sources
        for number, line in enumerate(path.read_text().splitlines(), 1)
        # Start-up may set what child processes need; another program's variable, named in full, may be read.
        if reads.search(line) and not another_programs.search(line)
    ]

    assert len(sources) > 5
    assert found == []


def test_external_mode_needs_the_external_database():
    with pytest.raises(SettingsError, match="GTM_EXTERNAL_DATABASE"):
        load_settings({"GTM_SALESFORCE_SOURCE": "external"})

    settings = load_settings({"GTM_SALESFORCE_SOURCE": "external", "GTM_EXTERNAL_DATABASE": "external.duckdb"})

    assert settings.is_external
    assert settings.external_database == PROJECT_DIR / "external.duckdb"


def test_an_external_database_may_be_named_while_the_lake_is_read():
    settings = load_settings({"GTM_EXTERNAL_DATABASE": "/somewhere/external.duckdb"})

    assert not settings.is_external


LIVE = {
    "GTM_SALESFORCE_SOURCE": "live",
    "GTM_SALESFORCE_INSTANCE_URL": "https://acme.my.salesforce.com/",
    "GTM_SALESFORCE_CLIENT_ID": "app",
}
SECRET = {"GTM_SALESFORCE_CLIENT_SECRET": "hush"}
KEY = {"GTM_SALESFORCE_USERNAME": "me", "GTM_SALESFORCE_PRIVATE_KEY_FILE": "/run/key.pem"}


@pytest.mark.parametrize("login", [SECRET, KEY, {"GTM_SALESFORCE_CLIENT_SECRET_FILE": "/run/secret"}])
def test_a_live_source_takes_one_login_and_an_open_calendar(tmp_path, login):
    settings = load_settings(LIVE | login | {"GTM_HOME": str(tmp_path)})

    assert settings.salesforce_instance_url == "https://acme.my.salesforce.com"
    assert Calendar.of(settings).last is None
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    "given",
    [
        {},
        SECRET | KEY,
        SECRET | {"GTM_SALESFORCE_CLIENT_SECRET_FILE": "/run/secret"},
        {"GTM_SALESFORCE_USERNAME": "me"},
        SECRET | {"GTM_SALESFORCE_CLIENT_ID": ""},
        SECRET | {"GTM_SALESFORCE_INSTANCE_URL": ""},
    ],
    ids=str,
)
def test_a_live_source_without_one_whole_login_is_refused(given):
    with pytest.raises(SettingsError, match="GTM_SALESFORCE_SOURCE=live needs") as refusal:
        load_settings(LIVE | given)

    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost:1", "https://acme.my.salesforce.com"])
def test_the_address_of_the_organisation_may_be_any(url):
    assert load_settings(LIVE | SECRET | {"GTM_SALESFORCE_INSTANCE_URL": url}).salesforce_instance_url == url
    other_name = {k: v for k, v in (LIVE | SECRET).items() if k != "GTM_SALESFORCE_INSTANCE_URL"}
    assert load_settings(other_name | {"SALESFORCE_INSTANCE_URL": url}).salesforce_instance_url == url


@pytest.mark.parametrize(
    "url", ["http://acme.my.salesforce.com", "https://me:hush@acme.com", "https://acme.com/x"]
)
def test_an_address_that_would_show_secrets_is_refused_without_showing_them(url):
    with pytest.raises(SettingsError, match="GTM_SALESFORCE_INSTANCE_URL") as refusal:
        load_settings(LIVE | SECRET | {"GTM_SALESFORCE_INSTANCE_URL": url})

    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"GTM_LANDING_LATE_MINUTES": "120"},
            "GTM_LANDING_LATE_MINUTES 120 is after GTM_LANDING_MISSED_MINUTES 60",
        ),
        ({"GTM_PUBLISH_LATE_MINUTES": "31"}, "GTM_PUBLISH_LATE_MINUTES 31 is after GTM_PUBLISH_MISSED_MINUTES 30"),
        ({"GTM_LANDING_MISSED_MINUTES": "1441"}, "GTM_LANDING_MISSED_MINUTES 1441 is more than a day"),
        (
            {"GTM_PUBLISH_DEADLINE_MINUTES": "1420"},
            "GTM_PUBLISH_DEADLINE_MINUTES 1420 and GTM_PUBLISH_MISSED_MINUTES 30 are together more than a day",
        ),
    ],
)
def test_deadlines_that_do_not_follow_on_each_other_are_refused(given, said):
    with pytest.raises(SettingsError, match=said):
        load_settings(given)


@pytest.mark.parametrize("variable", ["GTM_REFRESH", "GTM_SALESFORCE_REFRESH", "GTM_PIPEDRIVE_REFRESH"])
def test_an_interval_is_one_of_four(variable):
    for value in ("daily", "hourly", "30m", "15m"):
        load_settings({variable: value})

    for value in ("weekly", "60", "5m", "HOURLY"):
        said = f"{variable}='{value}': Input should be 'daily', 'hourly', '30m' or '15m'. It holds: How often"
        with pytest.raises(SettingsError, match=re.escape(said)):
            load_settings({variable: value})


def test_the_interval_of_all_sources_goes_before_their_own():
    own = {"GTM_SALESFORCE_REFRESH": "15m"}

    assert refreshes(load_settings({})) == {"salesforce": "daily", "pipedrive": "daily"}
    assert refreshes(load_settings(own)) == {"salesforce": "15m", "pipedrive": "daily"}
    assert refreshes(load_settings(own | {"GTM_REFRESH": "daily"})) == refreshes(load_settings({}))
    assert set(refreshes(load_settings({"GTM_REFRESH": "30m"})).values()) == {"30m"}


def test_each_source_has_an_interval_of_its_own():
    assert {f"{source.name}_refresh" for source in SOURCES} <= Settings.model_fields.keys()


@pytest.mark.parametrize("variable", ["GTM_REFRESH", "GTM_SALESFORCE_REFRESH", "GTM_PIPEDRIVE_REFRESH"])
def test_external_tables_are_not_refreshed_within_the_day(variable):
    given = {"GTM_SALESFORCE_SOURCE": "external", "GTM_EXTERNAL_DATABASE": "external.duckdb", variable: "30m"}

    said = f"^{variable}=30m lands the partition that is still open: .* Leave it out, or take daily$"
    with pytest.raises(SettingsError, match=said):
        load_settings(given)
    assert load_settings(given | {variable: "daily"}).is_external


OLD, NEW = "GTM_LANDING_DATABASE", "GTM_EXTERNAL_DATABASE"


@pytest.fixture
def nothing_told(monkeypatch):
    monkeypatch.setattr(settings_module, "_TOLD", set())


def test_old_names_work_and_are_told_once_with_the_new_ones(nothing_told):
    given = {"GTM_SALESFORCE_SOURCE": "landed", OLD: "/data/salesforce.duckdb"}

    with pytest.warns(RenamedSetting) as told:
        settings = load_settings(given)
        load_settings(given)

    assert settings.is_external and settings.external_database == Path("/data/salesforce.duckdb")
    assert [str(warning.message) for warning in told] == [
        f"{OLD} is now called {NEW}: rename it in the environment. The next release refuses the old name.",
        "GTM_SALESFORCE_SOURCE=landed is now GTM_SALESFORCE_SOURCE=external: change it in the environment. "
        "The next release refuses landed.",
    ]


def test_an_old_name_and_the_new_one_may_say_the_same_and_not_two_things(nothing_told):
    with pytest.warns(RenamedSetting):
        settings = load_settings({OLD: "one.duckdb", NEW: str(PROJECT_DIR / "one.duckdb")})

    assert settings.external_database == PROJECT_DIR / "one.duckdb"
    both = f"{OLD}=/one and {NEW}=/two are both set in the environment: .* Leave {OLD} out"
    with pytest.raises(SettingsError, match=both):
        load_settings({OLD: "/one", NEW: "/two"})


@pytest.mark.parametrize("in_file, outside", [(OLD, NEW), (NEW, OLD), (OLD, OLD)])
def test_the_environment_goes_before_the_file_under_either_name(
    in_file, outside, nothing_told, project, monkeypatch
):
    (project / ".env").write_text(f"{in_file}=/in/file\n")
    monkeypatch.setenv(outside, "/outside")

    with pytest.warns(RenamedSetting):
        assert load_settings().external_database == Path("/outside")

    monkeypatch.delenv(outside)
    settings_module._TOLD.clear()
    if in_file == OLD:
        with pytest.warns(RenamedSetting, match=r"rename it in \.env"):
            assert load_settings().external_database == Path("/in/file")
