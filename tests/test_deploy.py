"""The files for deployment name commands, modules and settings that exist; no container runtime is needed to tell."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from canvas_sync_dagster.cli import _Lazy, main
from canvas_sync_dagster.dagster_yaml import instance_file
from canvas_sync_dagster.tenants import TenantSettings

DEPLOY = Path(__file__).parent.parent / "deploy"
SCRIPTS = Path(sys.executable).parent
SETTINGS = {f"CANVAS_SYNC_{name.upper()}" for name in TenantSettings.model_fields}
OTHERS = {"CANVAS_SYNC_HOME", "CANVAS_SYNC_HEALTH_PORT", "CANVAS_SYNC_DAGSTER_DATABASE_URL"}


def text(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text("compose.yaml"))["services"]
    return found


def containers() -> list[list[str]]:
    whole = [each for each in yaml.safe_load_all(text("receiver.yaml")) if each["kind"] == "Deployment"]
    return [each["command"] for one in whole for each in one["spec"]["template"]["spec"]["containers"]]


COMMANDS = [shlex.split(each["command"]) for each in services().values() if "command" in each] + containers()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_exist(command: list[str]) -> None:
    assert (SCRIPTS / command[0]).is_file()
    if "-m" in command:
        assert importlib.util.find_spec(command[command.index("-m") + 1])
    if command[0] == "canvas-sync":
        found = main.get_command(click.Context(main), command[1])
        assert found is not None
        whole = found.load() if isinstance(found, _Lazy) else found
        options = {option for parameter in whole.params for option in parameter.opts}
        assert {each for each in command[2:] if each.startswith("--")} <= options


@pytest.mark.parametrize("file", sorted(path.name for path in DEPLOY.iterdir()))
def test_settings_exist(file: str) -> None:
    assert set(re.findall(r"CANVAS_SYNC_[A-Z_]+", text(file))) <= SETTINGS | OTHERS


def test_the_image_copies_what_is_there() -> None:
    sources = [line.split()[1:-1] for line in text("Dockerfile").splitlines() if line.startswith("COPY")]
    assert [name for names in sources for name in names if not (DEPLOY.parent / name).exists()] == []
    assert yaml.safe_load(text("workspace.yaml"))["load_from"][0]["grpc_server"]["host"] in services()


def test_the_image_has_our_dagster_yaml_at_its_home_and_a_user_with_a_number() -> None:
    dockerfile = text("Dockerfile")
    (home,) = re.findall(r"DAGSTER_HOME=(\S+)", dockerfile)
    assert f"COPY dagster.yaml {home}/dagster.yaml" in dockerfile
    assert (DEPLOY.parent / "dagster.yaml").read_text(encoding="utf-8") == instance_file()
    # Kubernetes cannot tell from a name that a user is not root, and refuses the pod.
    (user,) = re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)
    assert user.isdigit()
    assert f"--uid {user}" in dockerfile


def test_values_name_our_module_and_no_secret() -> None:
    values = yaml.safe_load(text("helm-values.yaml"))
    (location,) = values["dagster-user-deployments"]["deployments"]
    assert importlib.util.find_spec(location["dagsterApiGrpcArgs"][1])
    # Secrets are named, never given.
    assert re.findall(r"(?i)^\s*\w*(?:token|password): *[^{\s]", text("helm-values.yaml"), re.MULTILINE) == []


def test_the_receiver_gets_no_token_and_its_probes_are_not_published() -> None:
    receiver = services()["receiver"]
    assert [name for name in receiver["environment"] if "TOKEN" in name or "DAGSTER" in name] == []
    probes = receiver["command"].split("--health-port ")[1].split()[0]
    assert [port for port in receiver["ports"] if port.endswith(f":{probes}")] == []
    deployment, service = yaml.safe_load_all(text("receiver.yaml"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "canvas-sync-receiver"}}]
    assert container["readinessProbe"]["httpGet"]["port"] not in [
        each["targetPort"] for each in service["spec"]["ports"]
    ]
