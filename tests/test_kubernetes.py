"""The values for Dagster's Helm chart: known keys, the settings of dagster.yaml, and the pod that a run gets.

No cluster and no Helm is needed. `rendered` writes the instance's settings as the chart's templates do (1.13: chart
`dagster`, templates/configmap-instance.yaml and the helpers that it includes), for the keys that our values use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.test_utils import create_run_for_test

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.dagster_yaml import instance_settings

VALUES: dict[str, Any] = yaml.safe_load((Path(__file__).parent.parent / "deploy" / "helm-values.yaml").read_text())
TOKEN, PASSWORD = "token-of-canvas-7391", "password-of-dagster-7391"

KNOWN = {
    "": "dagsterWebserver dagster-user-deployments postgresql generatePostgresqlPasswordSecret generateCeleryConfigSecret "
    "rabbitmq redis flower ingress imagePullSecrets computeLogManager scheduler runLauncher pythonLogs dagsterDaemon busybox "
    "migrate telemetry serviceAccount global retention concurrency additionalInstanceConfig",
    "dagster-user-deployments": "enabled enableSubchart imagePullSecrets deployments",
    "dagster-user-deployments.deployments": "name image dagsterApiGrpcArgs codeServerArgs includeConfigInLaunchedRuns port env "
    "envConfigMaps envSecrets annotations nodeSelector affinity tolerations podSecurityContext securityContext resources "
    "livenessProbe readinessProbe startupProbe labels volumeMounts volumes schedulerName",
    "dagster-user-deployments.deployments.image": "repository tag pullPolicy",
    "dagster-user-deployments.deployments.envSecrets": "name",
    "dagster-user-deployments.deployments.includeConfigInLaunchedRuns": "enabled",
    "runLauncher": "type config",
    "runLauncher.config": "celeryK8sRunLauncher k8sRunLauncher customRunLauncher",
    "runLauncher.config.k8sRunLauncher": "image imagePullPolicy jobNamespace loadInclusterConfig kubeconfigFile envConfigMaps "
    "envSecrets envVars volumeMounts volumes labels failPodOnRunFailure resources schedulerName securityContext runK8sConfig",
    "dagsterDaemon": "enabled image runCoordinator heartbeatTolerance env envConfigMaps envSecrets deploymentLabels labels "
    "nodeSelector affinity tolerations podSecurityContext securityContext resources checkDbReadyInitContainer livenessProbe "
    "readinessProbe startupProbe annotations runMonitoring runRetries sensors schedules backfills schedulerName logFormat "
    "volumeMounts volumes",
    "dagsterDaemon.runCoordinator": "enabled type config",
    "dagsterDaemon.runCoordinator.config": "queuedRunCoordinator customRunCoordinator",
    # The only ones that it takes; the retries of ours are not among them.
    "dagsterDaemon.runCoordinator.config.queuedRunCoordinator": "maxConcurrentRuns tagConcurrencyLimits "
    "dequeueIntervalSeconds dequeueNumWorkers dequeueUseThreads blockOpConcurrencyLimitedRuns",
    "dagsterDaemon.runCoordinator.config.customRunCoordinator": "module class config",
    "dagsterDaemon.runMonitoring": "enabled startTimeoutSeconds cancelTimeoutSeconds maxRuntimeSeconds maxResumeRunAttempts "
    "pollIntervalSeconds freeSlotsAfterRunEndSeconds",
    "dagsterDaemon.runRetries": "enabled maxRetries retryOnAssetOrOpFailure",
    "dagsterDaemon.sensors": "useThreads numWorkers numSubmitWorkers",
    "dagsterDaemon.schedules": "useThreads numWorkers numSubmitWorkers",
    "concurrency": "enabled pools runs",
    "concurrency.pools": "defaultLimit granularity opGranularityRunBuffer",
    "concurrency.runs": "maxConcurrentRuns tagConcurrencyLimits",
    "concurrency.runs.tagConcurrencyLimits": "key value limit",
    "concurrency.runs.tagConcurrencyLimits.value": "applyLimitPerUniqueValue",
    "retention": "enabled sensor schedule autoMaterialize",
    "retention.sensor": "purgeAfterDays",
    "retention.sensor.purgeAfterDays": "skipped success failure started",
    "retention.schedule": "purgeAfterDays",
    "postgresql": "enabled image postgresqlHost postgresqlUsername postgresqlPassword postgresqlDatabase postgresqlParams "
    "postgresqlScheme service",
    "telemetry": "enabled",
}
"""Section of the chart's values (1.13) → the keys that its schema has there. Sections that are missing take any key."""
OPEN = (
    "resources",
    "securityContext",
    "labels",
    "customRunCoordinator.config",
    "postgresqlParams",
    "additionalInstanceConfig",
)
"""Ends of sections whose keys are those of Kubernetes, Dagster or libpq."""


def sections(value: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield the keys of each section of values; the items of a list are in the list's section."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, Mapping):
            yield path, list(item)
            if not path.endswith(OPEN):
                for key, each in item.items():
                    yield from sections(each, f"{path}.{key}".lstrip("."))


def test_the_chart_knows_every_key_of_our_values() -> None:
    unknown = [
        f"{path}.{key}"
        for path, keys in sections(VALUES)
        if not path.endswith(OPEN)
        for key in keys
        if key not in KNOWN[path].split()
    ]
    assert unknown == []


def snake(value: Any) -> Any:
    """Return a section with the names of dagster.yaml. `applyLimitPerUniqueValue` is spelled so there, too."""
    if isinstance(value, list):
        return [snake(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    kept = {"applyLimitPerUniqueValue"}
    return {
        key if key in kept else re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", key): snake(each)
        for key, each in value.items()
        if key != "enabled" or value is not VALUES["concurrency"]
    }


def rendered(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dagster.yaml that the chart makes of our values, without storage and launcher."""
    daemon, retention = values["dagsterDaemon"], values["retention"]
    assert retention["enabled"]
    assert values["concurrency"]["enabled"]
    return {
        "run_coordinator": daemon["runCoordinator"]["config"]["customRunCoordinator"],
        "run_monitoring": snake(daemon["runMonitoring"]),
        "run_retries": snake(daemon["runRetries"]),
        "sensors": snake(daemon["sensors"]),
        "schedules": snake(daemon["schedules"]),
        "telemetry": values["telemetry"],
        "retention": {kind: snake(retention[kind]) for kind in ("sensor", "schedule")},
        "concurrency": snake(values["concurrency"]),
        **values["additionalInstanceConfig"],
    }


def test_the_chart_makes_the_settings_of_our_dagster_yaml_of_our_values() -> None:
    ours, chart = instance_settings(), rendered(VALUES)
    del ours["storage"]
    only_on_kubernetes = {
        name: chart["run_monitoring"].pop(name) for name in set(chart["run_monitoring"]) - set(ours["run_monitoring"])
    }
    assert chart == ours
    assert only_on_kubernetes == {"start_timeout_seconds": 600, "max_resume_run_attempts": 0}
    assert VALUES["dagsterDaemon"]["runCoordinator"]["type"] == "CustomRunCoordinator"


def storage(values: Mapping[str, Any], url: str) -> dict[str, Any]:
    """Return the storage as the chart writes it, on the server of the tests."""
    postgresql, parts = values["postgresql"], urlsplit(url)
    database = {
        "username": parts.username,
        "password": {"env": "DAGSTER_PG_PASSWORD"},
        "hostname": "localhost",
        "db_name": parts.path[1:],
        "port": 5432,
        "params": {**postgresql["postgresqlParams"], "host": parse_qs(parts.query)["host"][0]},
        "scheme": postgresql["postgresqlScheme"],
    }
    classes = {"run_storage": "PostgresRunStorage", "event_log_storage": "PostgresEventLogStorage"}
    modules = {"run_storage": "run_storage", "event_log_storage": "event_log"}
    return {
        name: {"module": f"dagster_postgres.{modules[name]}", "class": kind, "config": {"postgres_db": database}}
        for name, kind in classes.items()
    } | {
        "schedule_storage": {
            "module": "dagster_postgres.schedule_storage",
            "class": "PostgresScheduleStorage",
            "config": {"postgres_db": database},
        }
    }


def launcher(values: Mapping[str, Any], kubeconfig: Path) -> dict[str, Any]:
    """Return the launcher as the chart writes it, with a kubeconfig of the test in place of the cluster's."""
    assert values["runLauncher"]["type"] == "K8sRunLauncher"
    ours = values["runLauncher"]["config"]["k8sRunLauncher"]
    return {
        "module": "dagster_k8s",
        "class": "K8sRunLauncher",
        "config": {
            "load_incluster_config": False,
            "kubeconfig_file": str(kubeconfig),
            "job_namespace": "sync",
            "image_pull_policy": "Always",
            "service_account_name": "dagster",
            "dagster_home": "/opt/dagster/dagster_home",
            "instance_config_map": "dagster-instance",
            "postgres_password_secret": "dagster-postgresql-secret",
            "labels": ours["labels"],
            "resources": ours["resources"],
            "security_context": ours["securityContext"],
        },
    }


def container_context(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the chart passes from the code location to its run pods (`includeConfigInLaunchedRuns`)."""
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert deployment["includeConfigInLaunchedRuns"]["enabled"]
    return {
        "k8s": {
            "image_pull_policy": deployment["image"]["pullPolicy"],
            "env_config_maps": [f"dagster-{deployment['name']}-user-env"],
            "env_secrets": [each["name"] for each in deployment["envSecrets"]],
            "namespace": "sync",
            "service_account_name": "dagster-user-deployments",
            "run_k8s_config": {"pod_spec_config": {"automount_service_account_token": True}},
        }
    }


class Recorder:
    """In place of the cluster's API: keeps the jobs that are posted."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, Any]] = []

    def create_namespaced_job(self, body: Any, namespace: str, **_: object) -> None:
        self.posted.append((namespace, body))


KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: "http://127.0.0.1:9"}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
users: [{name: test, user: {}}]
"""


@pytest.fixture
def job(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Kubernetes job that the launcher posts for a sync with our values."""
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", PASSWORD)
    monkeypatch.setenv("CANVAS_SYNC_BASE_URL", "https://school.instructure.com")
    monkeypatch.setenv("CANVAS_SYNC_TOKEN", TOKEN)
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    settings = (
        rendered(VALUES) | storage(VALUES, database_url) | {"run_launcher": launcher(VALUES, tmp_path / "kubeconfig")}
    )
    sync = CanvasSync.from_environment().definitions().resolve_job_def("canvas__sync_root")
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    image = deployment["image"]
    repository = RepositoryPythonOrigin(
        executable_path="/usr/local/bin/python",
        code_pointer=ModuleCodePointer(deployment["dagsterApiGrpcArgs"][1], "defs"),
        container_image=f"{image['repository']}:{image['tag']}",
        entry_point=["dagster"],
        container_context=container_context(VALUES),
    )
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=settings) as instance:
        run = create_run_for_test(
            instance,
            job_name=sync.name,
            tags={**sync.tags, "canvas_sync/batch_id": "canvas:default:1"},
            run_config={"resources": {"sync_options": {"config": {"mode": "full"}}}},
            job_code_origin=JobPythonOrigin(sync.name, repository),
        )
        recorder = Recorder()
        instance.run_launcher._api_client.batch_api = recorder  # type: ignore[attr-defined]
        instance.launch_run(run.run_id, None)  # type: ignore[arg-type]
    ((namespace, posted),) = recorder.posted
    assert namespace == "sync"
    return posted


def test_the_pod_of_a_run_gets_secrets_by_name_limits_labels_and_our_image(job: Any) -> None:
    (container,) = job.spec.template.spec.containers
    assert container.image == "canvas-sync:latest"
    assert container.args[:3] == ["dagster", "api", "execute_run"]

    secrets = [each.secret_ref.name for each in container.env_from if each.secret_ref]
    assert secrets == ["canvas-sync"]
    values = {each.name: each.value for each in container.env}
    assert {name for name in values if values[name] is None} == {"DAGSTER_PG_PASSWORD"}
    password = next(each for each in container.env if each.name == "DAGSTER_PG_PASSWORD").value_from.secret_key_ref
    assert (password.name, password.key) == ("dagster-postgresql-secret", "postgresql-password")
    whole = json.dumps(job.to_dict(), default=str)
    assert TOKEN not in whole
    assert PASSWORD not in whole

    assert container.resources.limits == {"memory": "1Gi"}
    assert container.resources.requests == {"cpu": "500m", "memory": "512Mi"}
    assert container.security_context.run_as_non_root
    labels = job.spec.template.metadata.labels
    assert labels["dagster/job"] == "canvas__sync_root"
    assert labels["app.kubernetes.io/part-of"] == "canvas-sync"
    # Kubernetes must not start a second worker of a run; Dagster retries runs.
    assert (job.spec.backoff_limit, job.spec.template.spec.restart_policy) == (0, "Never")
    assert job.spec.ttl_seconds_after_finished
