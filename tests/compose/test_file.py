"""What docker-compose.yaml says of every service, known without an engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ropewalk.local.containers import CERTIFICATE

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yaml").read_text("utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
JOBS = {"databases", "airflow-init", "demo-init", "secrets", "cli"}
LAPTOP = 6200  # MB of a machine of 8 GB, for all that goes on running


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == ("postgres" if name == "postgres" else "10001:10001")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    (tmp,) = service["tmpfs"]
    place, _, options = tmp.partition(":")
    assert place == "/tmp"  # noqa: S108 - the container's own
    assert {"noexec", "nosuid", "nodev"} <= set(options.split(","))
    assert re.search(r"(^|,)size=\d+m(,|$)", options)
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert set(service["deploy"]["resources"]["limits"]) == {"memory", "cpus", "pids"}
    assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & set(service)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_watched_and_started_again_and_a_job_is_not(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("no" if name in JOBS else "unless-stopped")
    assert ("healthcheck" in service) == (name not in JOBS)
    waits = service.get("depends_on", {}).values()
    healthy = {"service_healthy", "service_completed_successfully"}
    assert {one["condition"] for one in waits} <= healthy


def test_with_tls_every_stage_speaks_it_and_tells_where() -> None:
    added = yaml.safe_load((ROOT / "docker-compose.tls.yaml").read_text("utf-8"))["services"]
    stages = {name for name, one in SERVICES.items() if "STAGE" in str(one.get("build", ""))}
    assert set(added) == {*stages, "secrets", "cli"}
    for name in stages:
        told = added[name]["environment"]
        assert told["ROPEWALK_TLS_MUTUAL"] == "true"
        assert told["ROPEWALK_FLIGHT_URL"] == f"grpc+tls://{name}:8815"
        assert {told[f"ROPEWALK_TLS_{part}"] for part in ("CA", "CERT", "KEY")} == {
            f"/run/secrets/{file}" for file in CERTIFICATE.values()
        }


def test_where_stages_speak_in_plain_is_said_in_the_file_and_in_no_image() -> None:
    stages = [one for one in SERVICES.values() if "STAGE" in str(one.get("build", ""))]
    networks: dict[str, Any] = yaml.safe_load(TEXT)["networks"]
    for service in stages:
        assert service["environment"]["ROPEWALK_TRUSTED_NETWORK"] == "true"
        open_to = {name for name in service["networks"] if not networks[name].get("internal")}
        assert open_to <= {"outside", "front"}  # on which nobody else is
    assert "TRUSTED_NETWORK" not in (ROOT / "Dockerfile").read_text("utf-8")


def test_all_fit_a_laptop() -> None:
    limits = {
        name: int(service["deploy"]["resources"]["limits"]["memory"].removesuffix("m"))
        for name, service in SERVICES.items()
        if name not in JOBS
    }
    assert sum(limits.values()) <= LAPTOP


@pytest.mark.parametrize("name", ["collect", "process", "analyze", "store", "present"])
def test_a_stages_tasks_fit_its_container(name: str) -> None:
    """Two tasks at once may take their limit; `present` reserves for drawing what it does not touch."""
    service = SERVICES[name]
    whole = int(service["deploy"]["resources"]["limits"]["memory"].removesuffix("m")) << 20
    task = int(service["environment"]["ROPEWALK_MEMORY_LIMIT"])
    assert task < whole if name == "present" else 2 * task < whole


def test_no_secret_is_in_the_file() -> None:
    """A secret is a file of its service's own folder; no variable holds one, and none has a default."""
    words = re.findall(r"(?i)^.*(?:password|secret|token|_key).*$", TEXT, re.MULTILINE)
    allowed = re.compile(
        r"/secrets|/run/passwords|^\s*#|secrets:$|ropewalk\.local\.containers|cat /run/|password_encryption"
    )
    assert [word for word in words if not allowed.search(word)] == []


def test_collect_alone_is_on_the_networks_that_lead_out() -> None:
    on = {network: set[str]() for network in yaml.safe_load(TEXT)["networks"]}
    for name, service in SERVICES.items():
        for network in service.get("networks", ()):
            on[network].add(name)
    assert on["outside"] == {"collect"}
    assert on["front"] == {"airflow-api-server", "present"}
    options: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["networks"]
    inner = {name for name, found in options.items() if found.get("internal")}
    assert inner == set(on) - {"outside", "front"}
    masquerade = options["front"]["driver_opts"]["com.docker.network.bridge.enable_ip_masquerade"]
    assert masquerade == "false"
