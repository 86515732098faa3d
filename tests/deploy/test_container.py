"""The files that put the server into a container agree with the server and with each other."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path, PurePosixPath

import pytest
import yaml

from tests.helpers.command_lines import parse_only

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
YAML_FILES = sorted(DEPLOY.glob("**/*.yml"))


def load(name: str) -> dict:
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


def instructions(last_stage: bool = True) -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, by default those of the image itself, as (name, rest)."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    parts = [line.partition(" ") for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]
    pairs = [(name, rest.strip()) for name, _, rest in parts]
    first = max(number for number, (name, _) in enumerate(pairs) if name == "FROM") if last_stage else 0
    return pairs[first:]


def instruction(name: str) -> str:
    (rest,) = (rest for other, rest in instructions() if other == name)
    return rest


def server_words(more: list) -> list[str]:
    """Return the arguments of the server in a container that is started with more arguments."""
    python, flag, module, *words = json.loads(instruction("ENTRYPOINT"))
    assert (python, flag, module) == ("/opt/res2net/bin/python", "-m", "res2net_runtime.serve")
    return [*words, *map(str, more)]


@pytest.fixture
def compose():
    return load("compose.yml")["services"]


@pytest.fixture
def pod():
    return load("kubernetes/deployment.yml")["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    (container,) = pod["containers"]
    return container


@pytest.mark.parametrize("file", YAML_FILES, ids=lambda file: file.relative_to(DEPLOY).as_posix())
def test_a_file_is_yaml(file):
    assert all(isinstance(document, dict) for document in yaml.safe_load_all(file.read_text("utf-8")))


@pytest.mark.parametrize("where", ["image", "compose", "kubernetes"])
def test_the_arguments_of_the_server_are_valid(where, compose, container):
    more = {
        "image": json.loads(instruction("CMD")),
        "compose": compose["serve"]["command"],
        "kubernetes": container["args"],
    }[where]
    args = parse_only("runtime.serve", server_words(more))
    assert (args.host, args.port) == ("0.0.0.0", int(instruction("EXPOSE")))
    assert args.model_dir == ["/models/model"]


def test_the_image_runs_as_the_user_of_the_pod_and_not_as_root(pod):
    user, _, group = instruction("USER").partition(":")
    assert int(user) > 0 and f"--uid {user} " in instruction("RUN")
    security = pod["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (int(user), int(group))
    assert security["fsGroup"] == int(group)  # who may read the keys


def test_the_image_has_no_tools_to_build_with():
    installed = re.findall(r"apt-get install ([^&]*)", instruction("RUN"))
    assert [[word for word in shlex.split(words) if not word.startswith("-")] for words in installed] == [["python3"]]
    assert "pip" in re.search(r"pip uninstall --yes ([^&]*)", str(instructions(last_stage=False)))[1].split()


def test_what_the_image_is_built_from_exists():
    copied = [rest.split() for name, rest in instructions(last_stage=False) if name == "COPY" and "--from" not in rest]
    assert copied == [["python", "/src"]]
    kept = [line[1:] for line in (DEPLOY / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    assert kept and all((DEPLOY / path).exists() for path in kept)
    assert "python/res2net_runtime" in kept and "python/pyproject.toml" in kept


def test_the_health_checks_ask_addresses_that_the_server_has(container):
    pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")
    from res2net_runtime.serve.inference_protocol import router

    answered = {route.path for route in router.routes}
    probes = [container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    asked = re.search(r"http://127\.0\.0\.1:(\d+)(/[\w/]+)", instruction("HEALTHCHECK"))
    assert {asked[2], *(probe["path"] for probe in probes)} <= answered
    assert asked[1] == instruction("EXPOSE")
    assert {probe["port"] for probe in probes} == {port["name"] for port in container["ports"]}


def test_the_ports_agree(compose, container):
    port = int(instruction("EXPOSE"))
    assert compose["serve"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert [one["containerPort"] for one in container["ports"]] == [port]
    service = load("kubernetes/service.yml")["spec"]["ports"]
    assert [one["targetPort"] for one in service] == [container["ports"][0]["name"]]
    (scraped,) = load("prometheus/prometheus.yml")["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": [f"serve:{port}"]}] and "serve" in compose


def test_what_the_arguments_name_is_mounted(compose, pod, container):
    assert [volume["target"] for volume in compose["serve"]["volumes"]] == compose["serve"]["command"][1:2]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    args = parse_only("runtime.serve", server_words(container["args"]))
    for path in (*args.model_dir, args.api_key_file):
        assert mounts[str(PurePosixPath(path).parent)]["readOnly"]
    assert {mount["name"] for mount in mounts.values()} == {volume["name"] for volume in pod["volumes"]}


def test_keys_have_permissions_that_the_server_accepts(pod, tmp_path):
    from res2net_runtime.serve.keys import load_keys

    (mode,) = (volume["secret"]["defaultMode"] for volume in pod["volumes"] if "secret" in volume)
    file = tmp_path / "keys.txt"
    file.write_text("0123456789abcdef-key\n", encoding="utf-8")
    file.chmod(mode)
    assert load_keys(file) == ("0123456789abcdef-key",)


def test_what_is_in_flight_may_finish_before_the_container_is_killed(compose, pod, container):
    grace_s = parse_only("runtime.serve", server_words(compose["serve"]["command"])).grace_s
    assert int(compose["serve"]["stop_grace_period"].removesuffix("s")) > grace_s
    grace_s = parse_only("runtime.serve", server_words(container["args"])).grace_s
    pause_s = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > grace_s + pause_s


def test_the_objects_of_kubernetes_belong_together():
    labels = {"app.kubernetes.io/name": "res2net-serve"}
    deployment = load("kubernetes/deployment.yml")
    assert (
        deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"] == labels
    )
    assert load("kubernetes/service.yml")["spec"]["selector"] == labels
    assert load("kubernetes/disruption.yml")["spec"]["selector"]["matchLabels"] == labels
    autoscaler = load("kubernetes/autoscaler.yml")["spec"]
    assert autoscaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]  # each 'kubectl apply' would undo what the autoscaler has set
    listed = load("kubernetes/kustomization.yml")
    assert {*listed["resources"], "kustomization.yml"} == {file.name for file in (DEPLOY / "kubernetes").iterdir()}
    images = {one["image"] for one in deployment["spec"]["template"]["spec"]["containers"]}
    assert images == {one["name"] for one in listed["images"]} == {load("compose.yml")["services"]["serve"]["image"]}


def test_prometheus_asks_for_figures_that_the_server_has():
    pytest.importorskip("prometheus_client", reason="prometheus-client is not installed (extra serve)")
    from res2net_runtime.serve.metrics import Metrics

    metrics = Metrics()
    metrics.requests.labels("GET", "/", "500").inc()
    metrics.rejections.labels("queue_full").inc()
    names = set(re.findall(r"^(res2net_\w+)", metrics.text().decode(), flags=re.MULTILINE))
    main = load("prometheus/prometheus.yml")
    (group,) = (group for file in main["rule_files"] for group in load(f"prometheus/{file}")["groups"])
    text = " ".join(rule["expr"] for rule in group["rules"])
    asked = set(re.findall(r"\bres2net_\w+", text))
    assert asked and asked <= names
    jobs = {job["job_name"] for job in main["scrape_configs"]}
    assert set(re.findall(r'job="([^"]+)"', text)) <= jobs
