"""Every setting: where it is read, what is refused, and what the refusal says."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.alert_settings import AlertKind
from canvas_sync_dagster.catalogue import BUILT_IN, ColumnType, ProvisioningFeed
from canvas_sync_dagster.cli import main
from canvas_sync_dagster.commands.init import init
from canvas_sync_dagster.configuration.environment import PREFIX, contradicted
from canvas_sync_dagster.durations import parse_duration
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.full_sync_policy import FullSyncEvery
from canvas_sync_dagster.postgres_url import lacks_tls
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.tenants import TenantSettings

SECRET = "7~secret-of-ours"


def read(directory: Path, **variables: str) -> TenantSettings:
    return Settings.from_environment(variables, directory=directory).tenant()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BASE_URL", "school.instructure.com", "https://school.instructure.com"),
        ("ACCOUNT_ID", "../1", "digits"),
        ("DATABASE_URL", "mysql://localhost/x", "postgresql://"),
        ("TENANT", "My-School", "lowercase letter"),
        ("MODELS", "users,curses", "courses"),
        ("TERM_SCOPE", "", ""),
        ("UPDATED_AFTER", "yesterday", "ISO-8601"),
        ("FULL_SYNC_EVERY", "sometimes", "saturday/4"),
        ("SCHEDULE", "every day", "cron"),
        ("TIMEZONE", "Mars/Olympus", "America/Denver"),
        ("PROVISIONING_REPORT", "other_csv", "proservices_provisioning_csv"),
        ("REPORT_TIMEOUT", "soon", "1 day"),
        ("REPORT_TIMEOUT", "0", "1 day"),
        ("REPORT_TIMEOUT", "2", "a duration needs a unit (seconds, minutes, hours, days or weeks); write `2 days`"),
        ("LOST_AFTER", "2 fortnights", "seconds, minutes, hours, days or weeks"),
        ("REPORT_COMPILATION_TIMEOUT", "-1 hour", "1 hour"),
        ("REPORT_MAX_TRIES", "0", "1 to 100"),
        ("POLL_SECONDS", "often", "seconds"),
        ("CONFIG", "missing.yaml", "YAML"),
    ],
)
def test_a_wrong_value_names_the_setting_the_value_and_what_is_allowed(
    tmp_path: Path, name: str, value: str, says: str
) -> None:
    if not value:
        assert read(tmp_path, **{PREFIX + name: value})
        return
    with pytest.raises(SettingError) as caught:
        read(tmp_path, **{PREFIX + name: value})
    assert caught.value.setting == PREFIX + name
    assert says in str(caught.value)
    assert value in str(caught.value) or name == "DATABASE_URL"


def test_the_batch_size_of_the_gem_is_understood_and_checked(tmp_path: Path) -> None:
    assert Settings.from_environment({"BULK_IMPORTER_BATCH_SIZE": "5000"}, directory=tmp_path).batch_rows == 5000
    with pytest.raises(SettingError, match="BULK_IMPORTER_BATCH_SIZE is 'x'"):
        Settings.from_environment({"BULK_IMPORTER_BATCH_SIZE": "x"}, directory=tmp_path)


def test_secrets_appear_in_no_repr_and_no_message(tmp_path: Path) -> None:
    url = f"postgresql://u:{SECRET}@h/d"
    settings = Settings.from_environment(
        {"CANVAS_SYNC_TOKEN": SECRET, "CANVAS_SYNC_DATABASE_URL": url}, directory=tmp_path
    )
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()
    for variables in ({"CANVAS_SYNC_TOKEN": f"{SECRET} x"}, {"CANVAS_SYNC_DATABASE_URL": f"mysql://u:{SECRET}@h"}):
        with pytest.raises(SettingError) as caught:
            read(tmp_path, **variables)
        assert SECRET not in str(caught.value)
        assert SECRET not in repr(caught.value.__cause__)


def test_the_environment_goes_before_dotenv_and_dotenv_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "canvas_sync.yaml").write_text("tenants: {uni: {base_url: https://file.test, account_id: '1'}}")
    assert read(tmp_path).base_url == "https://file.test"
    (tmp_path / ".env").write_text("CANVAS_SYNC_BASE_URL=https://dotenv.test\n")
    assert read(tmp_path).base_url == "https://dotenv.test"
    tenant = read(tmp_path, CANVAS_SYNC_BASE_URL="https://environment.test/")
    assert (tenant.base_url, tenant.account_id, tenant.slug) == ("https://environment.test", "1", "uni")


def test_variables_that_differ_between_the_environment_and_dotenv_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(
        f"CANVAS_SYNC_TOKEN={SECRET}\nCANVAS_SYNC_MODELS=terms\nCANVAS_SYNC_SCHEDULE='0 1 * * *'\nOTHER=1\n"
    )
    variables = {"CANVAS_SYNC_TOKEN": "7~other", "CANVAS_SYNC_MODELS": "terms", "OTHER": "2"}
    assert contradicted(variables, tmp_path) == ("CANVAS_SYNC_TOKEN",)
    assert contradicted({}, tmp_path) == ()
    done = CliRunner().invoke(
        main, ["doctor"], env={**variables, "CANVAS_SYNC_DATABASE_URL": "postgresql://u@127.0.0.1:1/x"}
    )
    said = "CANVAS_SYNC_TOKEN differs between the environment and .env: `canvas-sync` uses the environment"
    assert f"warning: {said}" in done.stderr
    assert said in " ".join(done.stdout.split())
    assert SECRET not in done.output
    assert "7~other" not in done.output


def test_a_mapping_is_a_json_object_in_the_environment(tmp_path: Path) -> None:
    variables = {"CANVAS_SYNC_BASE_URL": "https://a.test", "CANVAS_SYNC_TOKEN": "7~x"}
    tenant = read(tmp_path, **variables, CANVAS_SYNC_FEEDS='{"submissions": "rest"}')
    assert tenant.feeds == {"submissions": "rest"}
    assert read(tmp_path, **variables, CANVAS_SYNC_UNKNOWN_COLUMNS="add").unknown_columns == "add"
    with pytest.raises(SettingError, match="CANVAS_SYNC_FEEDS"):
        read(tmp_path, **variables, CANVAS_SYNC_FEEDS="{submissions: rest}")


def test_with_several_tenants_the_environment_gives_its_token_only_to_the_one_it_names(tmp_path: Path) -> None:
    (tmp_path / "canvas_sync.yaml").write_text(
        "tenants:\n  a: {base_url: https://a.test, token: '${TOKEN_A}'}\n  b: {base_url: https://b.test, schema: bb}\n"
    )
    variables = {"CANVAS_SYNC_TOKEN": "mine", "TOKEN_A": "of-a", "CANVAS_SYNC_POLL_SECONDS": "5"}
    settings = Settings.from_environment(variables, directory=tmp_path)
    assert settings.tenant("a").token.get_secret_value() == "of-a"  # type: ignore[union-attr]
    assert settings.tenant("b").token is None
    assert settings.tenant("b").schema_in_database == "bb"
    assert {tenant.poll_seconds for tenant in settings.tenants} == {5.0}
    with pytest.raises(SettingError, match="a, b"):
        settings.tenant()


def test_with_several_tenants_a_tenant_never_moves_to_the_embedded_database_silently(tmp_path: Path) -> None:
    url = "postgresql://db.test/lms"
    file = tmp_path / "canvas_sync.yaml"
    file.write_text("tenants:\n  a: {}\n")
    variables = {"CANVAS_SYNC_DATABASE_URL": url}
    assert read(tmp_path, **variables).database_url.get_secret_value() == url  # type: ignore[union-attr]
    file.write_text(
        "tenants:\n  a: {}\n  b: {database_url: null}\n  c: {database_url: '${CANVAS_SYNC_DATABASE_URL}'}\n"
    )
    settings = Settings.from_environment(variables, directory=tmp_path)
    assert [(each.slug, each.error.setting) for each in settings.broken] == [
        ("a", "canvas_sync.yaml: tenants.a.database_url")
    ]
    assert settings.tenant("b").database_url is None
    assert settings.tenant("c").database_url.get_secret_value() == url  # type: ignore[union-attr]
    named = Settings.from_environment(variables | {"CANVAS_SYNC_TENANT": "a"}, directory=tmp_path)
    assert named.tenant("a").database_url.get_secret_value() == url  # type: ignore[union-attr]
    # Without the variable, only the tenant whose file names it is wrong.
    assert [each.slug for each in Settings.from_environment({}, directory=tmp_path).tenants] == ["a", "b"]


def test_an_unset_variable_in_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "canvas_sync.yaml").write_text("tenants: {a: {token: '${NOT_SET}'}}")
    with pytest.raises(SettingError, match="NOT_SET"):
        read(tmp_path)


@pytest.mark.parametrize("content", ["[1", "tenants: 3", "", "tenants: {a: {base_ulr: x}}", "tenant: {}", "\x80"])
def test_a_wrong_file_is_one_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "canvas_sync.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(SettingError, match=r"canvas_sync\.yaml"):
        read(tmp_path)


NOT_YAML = [
    (f"tenants:\n  a:\n   models: [users\n   token: {SECRET}\n", "line 4, column 9: expected ',' or ']', but got ':'"),
    (f"tenants:\n  a: {{token: !x'{SECRET} 1}}", "line 2, column 14: could not determine a constructor for the tag"),
    (f"tenants: *{SECRET}", "line 1, column 10: found undefined alias"),
    (f"tenants: !{SECRET}!x y", "found undefined tag handle"),
    (f"tenants: !!int {SECRET}", "a value is not of the type"),
    (f"tenants: !!bool {SECRET}", "a value is not of the type"),
    (f"a: 1\nb: {SECRET}\x01", f"line 2, column {len(SECRET) + 4}: the character #x0001 is not allowed"),
    (f"token: {SECRET}\xff", "is not UTF-8"),
]


@pytest.mark.parametrize("name", ["canvas_sync.yaml", "canvas_sync_provisioning_mapping.yml"])
@pytest.mark.parametrize(("content", "says"), NOT_YAML)
def test_a_file_that_is_not_yaml_is_not_quoted(tmp_path: Path, name: str, content: str, says: str) -> None:
    secret = SECRET.replace("~", "_") if content.startswith(("tenants: *", "tenants: !7")) else SECRET
    (tmp_path / name).write_bytes(content.replace(SECRET, secret).encode("latin-1"))
    with pytest.raises(SettingError) as caught:
        read(tmp_path)
    shown = "".join(traceback.format_exception(caught.value))
    assert f"{name}: cannot be read: " in str(caught.value)
    assert says in str(caught.value)
    assert secret not in shown
    assert caught.value.__context__ is None


def test_dates_without_a_zone_are_utc(tmp_path: Path) -> None:
    assert read(tmp_path, CANVAS_SYNC_UPDATED_AFTER="2026-01-02").updated_after == datetime(2026, 1, 2, tzinfo=UTC)
    assert read(tmp_path, CANVAS_SYNC_UPDATED_AFTER="False").updated_after is False


@given(st.text(max_size=20))
def test_a_duration_is_positive_or_refused(text: str) -> None:
    try:
        assert parse_duration(text) > timedelta(0)
    except ValueError as error:
        assert str(error)


TENANTS = """
tenants:
  good: {base_url: "https://good.test", token: a}
  wrong: {base_url: "https://wrong.test", token: b, full_sync_every: sometimes}
  unset: {base_url: "https://unset.test", token: "${NOT_THERE}"}
  empty:
  Bad-Name: {base_url: "https://bad.test", token: c}
  twin: {base_url: "https://twin.test", token: d, schema: good}
  apart: {base_url: "https://apart.test", token: e, schema: good, database_url: "postgresql://u:p@db.test/x"}
  same: {base_url: "https://same.test", token: f, schema: good, database_url: "postgresql://v:q@DB.test:5432/x"}
"""


def test_a_wrong_value_of_one_tenant_does_not_affect_the_others(tmp_path: Path) -> None:
    (tmp_path / "canvas_sync.yaml").write_text(TENANTS)
    settings = Settings.from_environment({}, directory=tmp_path)
    assert [tenant.slug for tenant in settings.tenants] == ["good", "apart"]
    said = {each.slug: str(each.error) for each in settings.broken}
    assert list(said) == ["wrong", "unset", "empty", "Bad-Name", "twin", "same"]
    assert "canvas_sync.yaml: tenants.wrong.full_sync_every is 'sometimes'" in said["wrong"]
    assert "canvas_sync.yaml: tenants.unset.token: the environment variable NOT_THERE is not set" in said["unset"]
    assert "canvas_sync.yaml: tenants.empty: expected a mapping" in said["empty"]
    assert "canvas_sync.yaml: tenants.Bad-Name.slug is 'Bad-Name'" in said["Bad-Name"]
    assert "tenants.twin.schema is 'good': tenant good uses this schema in the same database" in said["twin"]
    assert "tenant apart uses this schema in the same database" in said["same"]
    with pytest.raises(SettingError, match="sometimes"):
        settings.tenant("wrong")


@pytest.mark.parametrize(
    ("genres", "said"),
    [
        ("{grades: {schedule: hourly}}", "tenants.canvas.genres.grades.schedule is 'hourly': not a cron expression"),
        ("{grades: {models: users}}", "tenants.canvas.genres.grades.schedule: Field required"),
        (
            "{grades: {schedule: '@daily', token: secret}}",
            "tenants.canvas.genres.grades.token: unknown setting",
        ),
        (
            "{grades: {schedule: '@daily', models: user}}",
            "tenants.canvas.genres.grades.models is 'user': unknown model",
        ),
        (
            "{grades: {schedule: '@daily', models: scores}}",
            "grades contains the models scores, which the tenant does not sync",
        ),
        ("{default: {schedule: '@daily'}}", "tenants.canvas.genres: default is already the batch_genre of the tenant"),
        ("{My-Grades: {schedule: '@daily'}}", "tenants.canvas.genres: invalid name My-Grades"),
        ("{grades: {schedule: '@daily', models: [users, 5]}}", "genres.grades.models is ['users', 5]: "),
        ("[grades]", "tenants.canvas.genres"),
        ("{grades: daily}", "tenants.canvas.genres.grades"),
    ],
)
def test_a_wrong_genre_is_named_with_its_place(tmp_path: Path, genres: str, said: str) -> None:
    (tmp_path / "canvas_sync.yaml").write_text(f"tenants: {{canvas: {{models: 'users,courses', genres: {genres}}}}}")
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({}, directory=tmp_path)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{history: [enrolments]}", "tenants.canvas.history is ['enrolments']: unknown model enrolments"),
        ("{history: [scores], models: [users]}", "history is ['scores']: the tenant does not sync scores"),
    ],
)
def test_a_history_of_a_model_that_is_not_synced_is_refused(tmp_path: Path, given: str, said: str) -> None:
    (tmp_path / "canvas_sync.yaml").write_text(f"tenants: {{canvas: {given}}}")
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({}, directory=tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("{userz: {x: 1}}", "tenants.canvas.params is {'userz': {'x': 1}}: unknown model userz"),
        ("{users: {updated_after: 2026-01-01}}", "users: the sync sets the parameter updated_after itself"),
        ("{terms: {x: 1}}", "terms is read over REST"),
        ("{users: 5}", "tenants.canvas.params is {'users': 5}"),
    ],
)
def test_a_wrong_parameter_of_a_report_is_named(tmp_path: Path, params: str, said: str) -> None:
    (tmp_path / "canvas_sync.yaml").write_text(f"tenants: {{canvas: {{params: {params}}}}}")
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({}, directory=tmp_path)
    assert said in str(caught.value)


def test_parameters_of_reports_are_read_per_tenant_and_per_mapping(tmp_path: Path) -> None:
    (tmp_path / "canvas_sync.yaml").write_text(
        "tenants: {canvas: {params: {users: {created_by_sis: true}}}}\n"
        "mappings: {submissions: {params: {include_all_except: [comments]}}}"
    )
    settings = Settings.from_environment({}, directory=tmp_path)
    assert settings.tenant().params == {"users": {"created_by_sis": True}}
    (submissions,) = [model for model in settings.models() if model.name == "submissions"]
    assert submissions.parameters == {"include_all_except": ["comments"]}


def test_a_wrong_item_of_a_list_is_reported_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "canvas_sync.yaml").write_text("tenants: {canvas: {models: [users, 5]}}")
    with pytest.raises(SettingError, match=r"tenants\.canvas\.models is \['users', 5\]: .* Allowed: all, or a list of"):
        Settings.from_environment({}, directory=tmp_path)


def test_a_genre_has_what_it_names_and_else_what_the_tenant_has(tmp_path: Path) -> None:
    own = "{schedule: '*/30 * * * *', models: courses, full_sync_every: 1 day}"
    tenant = f"{{term_order: lifo, updated_after: 2026-01-02, genres: {{grades: {own}}}}}"
    (tmp_path / "canvas_sync.yaml").write_text(f"tenants: {{canvas: {tenant}}}")
    whole = read(tmp_path)
    grades = whole.of_genre("grades")
    assert (grades.schedule, grades.models, grades.batch_genre) == ("*/30 * * * *", ("courses",), "grades")
    assert (grades.term_order, grades.updated_after) == ("lifo", whole.updated_after)
    assert whole.full_sync_policy is None, "a date keeps only an interval that is set"
    assert grades.full_sync_policy == FullSyncEvery.parse("1 day")
    assert whole.of_genre("another").model_dump() == whole.model_dump() | {"batch_genre": "another"}


def test_a_file_of_which_nothing_is_right_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "canvas_sync.yaml").write_text("tenants: {a: {schedule: daily}, b: {token: '${NOT_THERE}'}}")
    with pytest.raises(SettingError, match=r"tenants\.a\.schedule is 'daily'"):
        Settings.from_environment({}, directory=tmp_path)


def test_tenants_given_in_python_may_not_share_tables() -> None:
    with pytest.raises(SettingError, match="tenant a uses this schema"):
        Settings(tenants=(TenantSettings(slug="a"), TenantSettings(slug="b", schema="a")))
    with pytest.raises(SettingError, match="two tenants have this slug"):
        Settings(tenants=(TenantSettings(slug="a"), TenantSettings(slug="a", schema="b")))


def test_a_receiver_needs_no_variable_that_a_file_names_for_a_token(tmp_path: Path) -> None:
    (tmp_path / "canvas_sync.yaml").write_text(
        "tenants:\n  one: {base_url: 'https://one.test', token: '${NOT_HERE}'}\n  two: {token: '${KNOWN}'}\n"
    )
    settings = Settings.from_environment({"KNOWN": "7~x"}, directory=tmp_path, needs_tokens=False)
    assert [tenant.token and tenant.token.get_secret_value() for tenant in settings.tenants] == [None, "7~x"]
    assert settings.broken == ()
    with pytest.raises(SettingError, match="NOT_HERE"):
        Settings.from_environment({}, directory=tmp_path)


@pytest.mark.parametrize("value", ["0", "65536", "http", "-1"])
def test_a_wrong_health_port_is_named(value: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="CANVAS_SYNC_HEALTH_PORT"):
        Settings.from_environment({"CANVAS_SYNC_HEALTH_PORT": value}, directory=tmp_path)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgresql://u@db.example.edu/x", "db.example.edu"),
        ("postgresql://u@db.example.edu/x?sslmode=prefer", "db.example.edu"),
        ("postgresql://u@localhost,db.example.edu/x", "db.example.edu"),
        ("postgresql://u@db.example.edu/x?sslmode=require", None),
        ("postgresql://u@127.0.0.1/x", None),
        ("postgresql://u@[::1]/x", None),
        ("postgresql://u@/x?host=/run/postgresql", None),
    ],
)
def test_a_database_elsewhere_that_may_be_reached_without_tls_is_named(url: str, host: str | None) -> None:
    assert lacks_tls(url) == host


def test_xlist_is_accepted_wherever_models_are_listed_and_means_sections(tmp_path: Path) -> None:
    tenant = read(tmp_path, CANVAS_SYNC_MODELS="users,xlist")
    assert tenant.models == ("users", "sections")
    assert {model.name for model in tenant.chosen(BUILT_IN)} == {"terms", "users", "sections"}
    sync = CanvasSync(tenants=[{"slug": "north"}], models=["xlist", "sections"])
    assert [model.name for model in sync.project().models] == ["sections"]
    done = CliRunner().invoke(init, [str(tmp_path / "own"), "--models", "users,xlist"])
    assert done.exit_code == 0, done.output
    assert "models: [terms, users, sections]" in next((tmp_path / "own").rglob("canvas_sync.yaml")).read_text()
    assert "`term_scope: all`" in done.output


def test_xlist_of_the_gems_mapping_file_names_the_columns_of_sections(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "canvas_sync_provisioning_mapping.yml").write_text(
        "xlist:\n  conflict_target: canvas_id\n  report_columns:\n    canvas_section_id: {database_column_name: canvas_id}\n"
        "    canvas_nonxlist_course_id: {database_column_name: home_course_id, type: integer}\n"
    )
    (sections,) = (
        model for model in Settings.from_environment({}, directory=tmp_path).models() if model.name == "sections"
    )
    assert isinstance(sections.feed, ProvisioningFeed)
    (extra,) = sections.feed.enrichments
    assert (extra.key, dict(extra.columns)) == ("canvas_section_id", {"home_course_id": "canvas_nonxlist_course_id"})
    assert sections["home_course_id"].type is ColumnType.BIGINT


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("DATASERVICES_JWK_URL", "keys.test", "not a URL of a key set"),
        ("PRODUCTION_KEY1", "not a key!", "neither hex nor base64"),
        ("PRODUCTION_KEY1", "00" * 14, "wrong number of bytes"),
        ("PRODUCTION_IV1", "00" * 14, "wrong number of bytes"),
        ("CANVAS_SYNC_HEALTH_PORT", "70000", "less than or equal to 65535"),
        ("BULK_IMPORTER_BATCH_SIZE", "0", "greater than or equal to 1"),
    ],
)
def test_a_wrong_shared_setting_is_named_and_keys_are_not_shown(
    tmp_path: Path, name: str, value: str, problem: str
) -> None:
    with pytest.raises(SettingError, match=problem) as caught:
        Settings.from_environment({name: value}, directory=tmp_path)
    assert caught.value.setting == name
    assert (value in str(caught.value)) == (not name.startswith("PRODUCTION"))


def test_shared_settings_are_read_and_blank_ones_count_as_unset(tmp_path: Path) -> None:
    given = {
        "DATASERVICES_JWK_URL": " https://keys.test/jwks ",
        "PRODUCTION_KEY1": "AAAAAAAAAAAAAAAAAAAAAA==",
        "PRODUCTION_IV1": "00" * 16,
        "CANVAS_SYNC_HEALTH_PORT": "8080",
        "BULK_IMPORTER_BATCH_SIZE": "5000",
        "CANVAS_SYNC_HOME": "data",
    }
    settings = Settings.from_environment(given, directory=tmp_path)
    assert (settings.event_key, settings.event_iv) == (bytes(16), bytes(16))
    assert (settings.jwk_url, settings.health_port, settings.batch_rows) == ("https://keys.test/jwks", 8080, 5000)
    assert settings.home == tmp_path / "data"
    blank = Settings.from_environment(dict.fromkeys(given, " "), directory=tmp_path)
    assert (blank.event_key, blank.health_port, blank.batch_rows) == (None, None, None)


ALERTS = """
alerts:
  webhook_url: ${HOOK}
  email: {to: a@x.test, from: b@x.test, host: mail.x.test, user: u, password: "${SMTP_PASSWORD}"}
tenants:
  one: {database_url: postgresql://h/d}
  two: {database_url: postgresql://h/d, alerts: {kinds: [dead_letters], email: null, remind_after: 2 days}}
  three: {database_url: postgresql://h/d, alerts: {kinds: []}}
"""
SECRETS = {"HOOK": f"https://hooks.test/{SECRET}", "SMTP_PASSWORD": SECRET}


def alerting(directory: Path, content: str, **variables: str) -> Settings:
    (directory / "canvas_sync.yaml").write_text(content)
    return Settings.from_environment(variables, directory=directory)


def test_alerts_of_the_location_hold_for_every_tenant_which_replaces_fields_of_them(tmp_path: Path) -> None:
    settings = alerting(tmp_path, ALERTS, **SECRETS)
    one, two, three = (tenant.alerts for tenant in settings.tenants)
    assert one and two and three
    assert [each.is_active for each in (one, two, three)] == [True, True, False]
    assert one.email is not None and one.email.port == 587
    assert (two.email, two.kinds, two.remind_after) == (None, (AlertKind.DEAD_LETTERS,), timedelta(days=2))
    assert two.webhook_url == one.webhook_url
    assert SECRET not in repr(settings) + settings.model_dump_json()
    # The receiver needs no alerts, nor their secrets.
    receiver = Settings.from_environment({}, directory=tmp_path, needs_tokens=False)
    assert [tenant.alerts for tenant in receiver.tenants] == [None, None, None]


@pytest.mark.parametrize(
    ("written", "place", "says"),
    [
        ("{kinds: [rain]}", "alerts.kinds", "a list of failed_sync"),
        ("{webhook_url: hooks.test/7~secret-of-ours}", "alerts.webhook_url", "URL of a webhook"),
        ("{ui_url: 'https://u:7~secret-of-ours@x.test'}", "alerts.ui_url", "without user and password"),
        ("{remind_after: 7}", "alerts.remind_after", "a duration needs a unit"),
        ("{slack: 7~secret-of-ours}", "alerts.slack", "unknown setting"),
        ("7~secret-of-ours", "alerts", "a mapping with webhook_url or email"),
        ("{email: {to: a@x.test, from: b@x.test}}", "alerts.email.host", "name of the SMTP server"),
        ("{email: {to: 7~secret-of-ours, from: b@x.test, host: x}}", "alerts.email.to", "a list of addresses"),
        (
            "{email: {to: a@x, from: b@x, host: x, password: 7~secret-of-ours}}",
            "alerts.email",
            "both user and password",
        ),
        (
            "{email: {to: a@x, from: b@x, host: x, user: u, password: 7~secret-of-ours, security: none}}",
            "alerts.email",
            "unencrypted",
        ),
    ],
)
@pytest.mark.parametrize("default", [True, False])
def test_a_wrong_alert_names_the_setting_and_shows_no_secret(
    tmp_path: Path, written: str, place: str, says: str, default: bool
) -> None:
    content = f"alerts: {written}" if default else f"tenants: {{one: {{alerts: {written}}}}}"
    with pytest.raises(SettingError) as caught:
        alerting(tmp_path, content)
    assert caught.value.setting == f"canvas_sync.yaml: {'' if default else 'tenants.one.'}{place}"
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_file_in_a_package_has_its_dotenv_at_the_project_or_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, elsewhere = tmp_path / "school" / "src" / "school", tmp_path / "elsewhere"
    for directory, name in ((package, "package"), (elsewhere, "elsewhere"), (package.parents[1], "project")):
        directory.mkdir(parents=True, exist_ok=True)
        (directory / ".env").write_text(f"CANVAS_SYNC_BASE_URL=https://{name}.test\n")
    file = package / "canvas_sync.yaml"
    file.write_text("tenants: {canvas: {models: [terms]}}")
    monkeypatch.chdir(elsewhere)

    def address() -> tuple[str, Path]:
        settings = Settings.from_file(file, {"CANVAS_SYNC_TOKEN": "x"})
        return str(settings.tenant().base_url), settings.home.parent

    assert address() == ("https://package.test", package)  # A directory of plain files, as in `examples`.
    (package / "__init__.py").touch()
    (package / "pyproject.toml").touch()
    assert address() == ("https://elsewhere.test", elsewhere)  # An installed package.
    (package.parents[1] / "pyproject.toml").touch()
    assert address() == ("https://project.test", package.parents[1])  # A checkout of the project.
