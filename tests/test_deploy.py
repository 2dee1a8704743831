"""The files for deployment name commands, modules and settings that exist; no container runtime is needed to tell."""

from __future__ import annotations

import importlib.util
import json
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


def defaults() -> list[list[str]]:
    """Return the default commands and the health checks of the images."""
    return [json.loads(each) for each in re.findall(r"CMD (\[.*\])$", text("Dockerfile"), re.MULTILINE)]


COMMANDS = [
    *(shlex.split(each["command"]) for each in services().values() if "command" in each),
    *(
        each["healthcheck"]["test"][1:]
        for each in services().values()
        if "CMD" in each.get("healthcheck", {}).get("test", [])
    ),
    *containers(),
    *defaults(),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command)[:60])
def test_commands_exist(command: list[str]) -> None:
    assert (SCRIPTS / command[0]).is_file()
    if command[:2] == ["python", "-c"]:
        compile(command[2], "health check", "exec")
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


def stages() -> dict[str, list[tuple[str, str]]]:
    """Return the instructions of each stage of the Dockerfile, with those of the stage that it begins with."""
    lines = "\n".join(line for line in text("Dockerfile").splitlines() if not line.startswith("#"))
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for line in re.sub(r"\\\n\s*", " ", lines).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            origin, _, name = rest.partition(" AS ")
            found[name] = [*found.get(origin, [])]
        elif word and name:
            found[name].append((word, rest.strip()))
    return found


IMAGES = ("canvas-sync", "receiver")


def test_the_images_copy_what_is_there_and_the_builder_is_sent_no_more() -> None:
    copied = [rest.split()[:-1] for each in stages().values() for word, rest in each if word == "COPY"]
    names = {name for parts in copied if not parts[0].startswith("--from") for name in parts}
    assert [name for name in names if not (DEPLOY.parent / name).exists()] == []
    ignored = (DEPLOY.parent / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == names
    assert yaml.safe_load(text("workspace.yaml"))["load_from"][0]["grpc_server"]["host"] in services()


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_a_user_with_a_number_labels_a_health_check_and_pinned_packages(image: str) -> None:
    found = stages()[image]
    # Kubernetes cannot tell from a name that a user is not root, and refuses the pod.
    (user,) = [rest for word, rest in found if word == "USER"]
    assert user.isdigit()
    assert any(f"--uid {user}" in rest for word, rest in found if word == "RUN")
    words = [word for word, _ in found]
    assert words.index("USER") > max(number for number, word in enumerate(words) if word in {"RUN", "COPY"})
    assert {"LABEL", "HEALTHCHECK", "CMD", "EXPOSE"} <= set(words)
    installed = [rest for word, rest in found if word == "RUN" and "pip install" in rest]
    assert all("--require-hashes" in rest or "/wheels/" in rest for rest in installed)


def test_the_main_image_has_our_dagster_yaml_at_its_home() -> None:
    found = stages()["canvas-sync"]
    (home,) = re.findall(r"DAGSTER_HOME=(\S+)", text("Dockerfile"))
    assert ("COPY", f"dagster.yaml {home}/dagster.yaml") in found
    assert (DEPLOY.parent / "dagster.yaml").read_text(encoding="utf-8") == instance_file()


def test_the_base_is_an_argument_and_its_pinning_is_documented() -> None:
    assert re.findall(r"^ARG PYTHON_IMAGE=(\S+)\nFROM \$\{PYTHON_IMAGE\} AS base$", text("Dockerfile"), re.MULTILINE)
    assert "@sha256:" in text("Dockerfile")


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
