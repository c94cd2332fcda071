"""What cannot be run here, containers and clusters, is at least what its readers take."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from packaging.requirements import Requirement
from ruamel.yaml import YAML

import flows  # noqa: F401 - sets what Prefect reads when it is imported

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
GUIDE = (DEPLOY / "README.md").read_text()


def read(path: str) -> Any:
    return YAML(typ="safe").load((DEPLOY / path).read_text())


DEPLOYMENTS = read("prefect.yaml")["deployments"]


def flow_of(deployment: dict[str, Any]) -> Any:
    path, name = deployment["entrypoint"].split(":")
    return getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_every_deployment_has_parameters_that_its_flow_takes(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    parameters = dict(deployment["parameters"])
    for trigger in deployment.get("triggers", ()):
        parameters |= trigger["parameters"]
    flow.validate_parameters(parameters)
    for name in ("recipe", "training"):
        if isinstance(path := parameters.get(name), str):
            assert (ROOT / path).is_file()


def test_every_flow_has_a_deployment_and_a_form() -> None:
    found = {flow_of(deployment).name: flow_of(deployment) for deployment in DEPLOYMENTS}
    assert {"synthesize", "nightly", "backfill", "verify", "train", "train-classifier"} <= set(found)
    from prefect.utilities.callables import parameter_schema

    for name in ("synthesize", "nightly", "backfill"):
        schema = parameter_schema(found[name])
        fields = schema.definitions["Run"]["properties"]
        assert {"runner", "workers", "timeout_minutes"} <= set(fields)
        assert all(field.get("description") for field in fields.values())


def test_schedules_are_cron_and_runs_of_them_wait_for_each_other() -> None:
    from prefect.client.schemas.schedules import CronSchedule

    scheduled = [deployment for deployment in DEPLOYMENTS if "schedules" in deployment]
    assert len(scheduled) == 2
    for deployment in scheduled:
        for schedule in deployment["schedules"]:
            CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        assert deployment["concurrency_limit"]["limit"] == 1


def test_the_automation_is_one() -> None:
    from prefect.automations import AutomationCore

    automation = AutomationCore(**read("silent-runs.yaml"))
    assert automation.trigger.within.total_seconds() == 600
    assert automation.actions[0].type == "change-flow-run-state"


def rendered(kind: str, **values: Any) -> Any:
    """A pool's template, filled in by the code of its worker."""
    import anyio
    from prefect.client.schemas.objects import FlowRun

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "kubernetes":
            from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration as Configuration
        else:
            from prefect_docker.worker import DockerWorkerJobConfiguration as Configuration
        template = json.loads((DEPLOY / kind / "base-job-template.json").read_text())
        configuration = anyio.run(lambda: Configuration.from_template_and_values(template, values))
        configuration.prepare_for_flow_run(FlowRun(name="quick-fox", flow_id=uuid4()))
    return configuration


def test_kubernetes_jobs_ask_for_gpus_and_shared_memory() -> None:
    configuration = rendered(
        "kubernetes", image="registry/gansynth:1", gpus=2, node_selector={"gpu": "h100"}, shm_size="8Gi"
    )
    job = _job(configuration.job_manifest)
    pod = job.spec.template.spec
    [container] = pod.containers
    assert container.resources.limits["nvidia.com/gpu"] == "2" == container.resources.requests["nvidia.com/gpu"]
    assert [(t.key, t.operator, t.effect) for t in pod.tolerations] == [("nvidia.com/gpu", "Exists", "NoSchedule")]
    assert pod.node_selector == {"gpu": "h100"} and pod.volumes[0].empty_dir.size_limit == "8Gi"
    assert pod.security_context.run_as_non_root and container.image == "registry/gansynth:1"
    assert pod.restart_policy == "Never" and job.spec.backoff_limit == 0, "Prefect would not know of another try"


def _job(manifest: dict[str, Any]) -> Any:
    """A manifest as Kubernetes' own client reads it; keys that no job has do not survive."""
    from kubernetes_asyncio.client import ApiClient

    client: Any = object.__new__(ApiClient)  # its constructor wants an event loop
    client.configuration = SimpleNamespace(client_side_validation=True)
    job = client._ApiClient__deserialize(manifest, "V1Job")
    assert _texts(client.sanitize_for_serialization(job)) == _texts(manifest)
    return job


def _texts(value: Any) -> Any:
    """The same with texts for numbers: quantities may be either."""
    if isinstance(value, dict):
        return {key: _texts(item) for key, item in value.items()}
    return [_texts(item) for item in value] if isinstance(value, list) else str(value)


def test_docker_containers_get_gpus_and_shared_memory() -> None:
    from docker.types import HostConfig

    configuration = rendered(
        "docker", image="gansynth:1", gpus=["0", "1"], volumes=["/srv/datasets:/srv/gansynth/datasets"]
    )
    host = HostConfig("1.43", **configuration.container_create_kwargs)
    assert host["DeviceRequests"] == [
        {"Driver": "nvidia", "Count": 0, "DeviceIDs": ["0", "1"], "Capabilities": [["gpu"]], "Options": {}}
    ]
    assert host["ShmSize"] == 2 * 2**30 and host["Init"]
    assert configuration.volumes == ["/srv/datasets:/srv/gansynth/datasets"]


@pytest.mark.parametrize("kind", ["kubernetes", "docker"])
def test_every_variable_of_a_template_is_used_and_every_place_has_one(kind: str) -> None:
    """What matches nothing does nothing, and nobody is told."""
    template = json.loads((DEPLOY / kind / "base-job-template.json").read_text())
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert used == set(template["variables"]["properties"])


def test_the_image_copies_what_exists_and_runs_as_nobody_special() -> None:
    from dockerfile_parse import DockerfileParser

    with (DEPLOY / "Dockerfile").open("rb") as file:
        steps = DockerfileParser(fileobj=file).structure
    for step in steps:
        if step["instruction"] == "COPY":
            for source in step["value"].split()[:-1]:
                assert (ROOT / source).exists(), source
    assert [step["value"] for step in steps if step["instruction"] == "USER"][-1] == "1000:1000"


def test_the_lock_fits_what_is_asked_for() -> None:
    import tomllib

    lines = [line for line in (DEPLOY / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    locked = {requirement.name: requirement for requirement in map(Requirement, lines)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in (*project["dependencies"], *extras["ray"], *extras["s3"], *extras["train"]):
        wanted = Requirement(text)
        [version] = [pin.version for pin in locked[wanted.name.lower().replace("_", "-").replace(".", "-")].specifier]
        assert wanted.specifier.contains(version), text


def test_compose_runs_the_server_on_postgresql_and_a_worker_with_gpus() -> None:
    services = read("compose.yaml")["services"]
    assert set(services) == {"postgres", "server", "worker"}
    url = services["server"]["environment"]["PREFECT_API_DATABASE_CONNECTION_URL"]
    assert url.startswith("postgresql+asyncpg://prefect:") and "@postgres:5432/" in url
    [device] = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    for service in services.values():
        for name in service.get("depends_on", {}):
            assert "healthcheck" in services[name]


def test_the_slurm_job_shares_out_every_shard_once(tmp_path: Path) -> None:
    """Its arithmetic, with a stand-in for the command that notes what it is asked for."""
    stand_in = tmp_path / "bin/gansynth"
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh\n[ "$1" = plan ] && echo \'{{"shards": 11}}\' || echo "$4" >> {tmp_path}/asked\n')
    stand_in.chmod(0o755)
    for number in range(4):
        variables = {"SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_ID": str(number + 1)}
        variables |= {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "4"}
        environment = {"PATH": f"{stand_in.parent}:/usr/bin:/bin:{Path(sys.executable).parent}", **variables}
        subprocess.run(["bash", str(DEPLOY / "slurm/generate.sbatch"), "recipe.yaml"], env=environment, check=True)
    shares = [line.split("-") for line in (tmp_path / "asked").read_text().split()]
    assert [n for first, last in shares for n in range(int(first), int(last) + 1)] == list(range(11))
    gaps = environment | {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MAX": "7", "SLURM_ARRAY_TASK_ID": "7"}
    assert subprocess.run(["bash", str(DEPLOY / "slurm/generate.sbatch"), "recipe.yaml"], env=gaps).returncode == 2


def test_the_guide_names_what_there_is() -> None:
    for name in re.findall(r"`([\w./-]+\.(?:yaml|json|sbatch|lock)|Dockerfile)`", GUIDE.partition("## One machine")[0]):
        assert (DEPLOY / name).is_file(), name
    known = {f"{flow_of(deployment).name}/{deployment['name']}" for deployment in DEPLOYMENTS}
    named = set(re.findall(r"(?:deployment run |`)((?:synthesize|nightly|backfill|verify)/[\w-]+)", GUIDE))
    assert named and named <= known
