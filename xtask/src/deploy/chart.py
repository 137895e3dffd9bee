"""Renders the Helm chart and checks what comes out; `write` writes what is made from it.

Run by `cargo xtask check-deploy`, in the root of the repository, with helm-python-sdk (Helm's own
engine as a library), kubernetes-validate (the schemas of Kubernetes) and PyYAML installed.
usage: chart.py check|write FOLDER
FOLDER gets the configuration of every rendering, for lockprobe to check.
"""

import glob
import json
import os
import re
import sys

import helm_python
import kubernetes_validate
import yaml

CHART = "deploy/helm/lockprobe"
PLAIN = "deploy/kubernetes/lockprobe.yaml"
PLAIN_VALUES = "deploy/kubernetes/values.yaml"
# Copies within the chart, since it is installed without the rest.
COPIES = {
    "deploy/prometheus/rules.yml": f"{CHART}/files/rules.yml",
    "deploy/grafana/lockprobe.json": f"{CHART}/files/dashboard.json",
}
VERSIONS = ["1.25", "1.29", "1.30", "1.33", "1.37"]
# In the order in which they are to be made.
ORDER = ["Namespace", "PriorityClass", "ServiceAccount", "ClusterRole", "ClusterRoleBinding",
         "ConfigMap", "NetworkPolicy", "Service", "DaemonSet"]
CAPABILITIES = ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "CHECKPOINT_RESTORE"]
# Kinds of the Prometheus operator: no schema is at hand; what matters is looked at below.
OPERATOR = {"PodMonitor": "podMetricsEndpoints", "ServiceMonitor": "endpoints",
            "PrometheusRule": "groups"}

faults = []


def fault(what):
    faults.append(what)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def objects(rendered):
    for path, text in sorted(rendered.items()):
        if path.endswith(".txt"):
            continue
        for part in re.split(r"^---\s*$", text, flags=re.M):
            thing = yaml.safe_load(part)
            if thing:
                yield thing, part.strip() + "\n"


def render(chart, values):
    return chart.render(values, name="lockprobe", namespace="lockprobe")


def validate(name, thing, versions):
    kind = thing["kind"]
    if kind in OPERATOR:
        if not thing["spec"].get(OPERATOR[kind]):
            fault(f"{name}: {kind} has no {OPERATOR[kind]}")
        return
    for version in versions:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            fault(f"{name}: {kind} is wrong for Kubernetes {version}: {path}: {error.message}")


def look(name, values, things):
    """What no schema says: rights, names that have to fit."""
    by_kind = {}
    for thing, _ in things:
        by_kind.setdefault(thing["kind"], []).append(thing)
    daemon = by_kind["DaemonSet"][0]
    pod = daemon["spec"]["template"]["spec"]
    container = pod["containers"][0]
    rights = container["securityContext"]
    root = pod["securityContext"]["runAsUser"] == 0
    expect = {
        "privileged": False,
        "readOnlyRootFilesystem": True,
        # A user other than root has its capabilities from the file.
        "allowPrivilegeEscalation": not root,
        "capabilities": {"drop": ["ALL"], "add": CAPABILITIES},
    }
    for key, value in expect.items():
        if rights.get(key) != value:
            fault(f"{name}: securityContext.{key} is {rights.get(key)}, not {value}")
    if pod["securityContext"]["runAsNonRoot"] == root:
        fault(f"{name}: runAsNonRoot contradicts runAsUser")
    if not pod.get("hostPID") or "hostPath" in json.dumps(pod):
        fault(f"{name}: the pod needs hostPID and no path of the host")
    if "memory" not in container["resources"]["limits"]:
        fault(f"{name}: no limit of memory")
    labels = daemon["spec"]["template"]["metadata"]["labels"]
    selectors = [daemon["spec"]["selector"]["matchLabels"]]
    for kind in ("Service", "NetworkPolicy", "PodMonitor", "ServiceMonitor"):
        for thing in by_kind.get(kind, []):
            chosen = thing["spec"].get("selector") or thing["spec"]["podSelector"]
            selectors.append(chosen.get("matchLabels", chosen))
    for chosen in selectors:
        if not chosen.items() <= labels.items():
            fault(f"{name}: {chosen} selects other pods than {labels}")
    config = yaml.safe_load(config_of(things))
    listen = config["http"]["listen"]
    ports = [str(port["containerPort"]) for port in container.get("ports", [])]
    probes = [key for key in container if key.endswith("Probe")]
    if listen == "off" and (ports or probes) or listen != "off" and (
            ports != [listen.rsplit(":", 1)[1]] or len(probes) != 3):
        fault(f"{name}: listens at {listen}, with ports {ports} and probes {probes}")
    for kind, switch in (("PodMonitor", "podMonitor"), ("ServiceMonitor", "serviceMonitor"),
                         ("PrometheusRule", "prometheusRule"), ("Namespace", "namespace")):
        given = values.get(switch, {})
        wanted = given.get("enabled", given.get("create", False))
        if wanted != (kind in by_kind):
            fault(f"{name}: {kind} is {'missing' if wanted else 'there unasked'}")


def config_of(things):
    for thing, _ in things:
        if thing["kind"] == "ConfigMap" and "lockprobe.yaml" in thing["data"]:
            return thing["data"]["lockprobe.yaml"]
    raise SystemExit("the chart renders no lockprobe.yaml")


def renderings(chart, folder):
    cases = {"default": {}, "plain": yaml.safe_load(read(PLAIN_VALUES))}
    for path in sorted(glob.glob(f"{CHART}/ci/*-values.yaml")):
        cases[os.path.basename(path)] = yaml.safe_load(read(path))
    kinds = set()
    for name, values in cases.items():
        chart.validate_schema(values)
        things = list(objects(render(chart, values)))
        kinds |= {thing["kind"] for thing, _ in things}
        override = values.get("kubeVersionOverride", "").lstrip("v")
        versions = [override.rsplit(".", 1)[0]] if override else VERSIONS
        if not override:
            # Before 1.30 there is no such field: the chart writes an annotation instead.
            versions = [v for v in VERSIONS if tuple(map(int, v.split("."))) >= (1, 30)]
        for thing, _ in things:
            validate(name, thing, versions)
        look(name, values, things)
        with open(os.path.join(folder, f"{name}.lockprobe.yaml"), "w", encoding="utf-8") as file:
            file.write(config_of(things))
    for kind in [*ORDER, *OPERATOR]:
        if kind not in kinds:
            fault(f"no rendering has a {kind}: it is not checked")
    return len(cases)


# Values that must be refused, with a word that the refusal has to have.
REFUSED = [
    ({"imag": {}}, "imag"),
    ({"config": {"http": {"listen": "off"}}}, "config"),
    ({"http": {"port": 80}}, "port"),
    ({"capabilities": ["ALL"]}, "capabilities"),
    ({"runAsUser": "root"}, "runAsUser"),
    ({"image": {"digest": "latest"}}, "digest"),
]


def refusals(chart):
    for values, word in REFUSED:
        try:
            chart.validate_schema(values)
            fault(f"values.schema.json lets {values} pass")
        except helm_python.HelmError as error:
            if word not in str(error):
                fault(f"{values} is refused, but not for {word}: {error}")


def plain(chart):
    """The plain manifests: the chart, with the namespace as an object."""
    things = list(objects(render(chart, yaml.safe_load(read(PLAIN_VALUES)))))
    things.sort(key=lambda pair: ORDER.index(pair[0]["kind"]))
    head = ("# lockprobe on every node, without Helm. Made from the chart by\n"
            "# `cargo xtask check-deploy --write`; put your image in its place:\n"
            "#   kubectl apply -f deploy/kubernetes/lockprobe.yaml\n")
    drop = re.compile(r"^ *(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", re.M)
    return head + "".join("---\n" + drop.sub("", text) for _, text in things)


def flat(schema, values, path=""):
    for key, part in sorted(schema["properties"].items()):
        here = f"{path}.{key}" if path else key
        if "properties" in part and part.get("type") == "object":
            yield from flat(part, values.get(key, {}), here)
        elif key in values:
            shown = json.dumps(values[key]).replace("|", "\\|")
            yield f"| `{here}` | `{shown}` | {part['description']} |"


def readme():
    schema = json.loads(read(f"{CHART}/values.schema.json"))
    values = yaml.safe_load(read(f"{CHART}/values.yaml"))
    rows = "\n".join(flat(schema, values))
    text = read(f"{CHART}/README.md")
    table = f"<!-- values -->\n| key | default | meaning |\n|---|---|---|\n{rows}\n<!-- /values -->"
    return re.sub(r"<!-- values -->.*<!-- /values -->", lambda _: table, text, flags=re.S)


def described(schema, values, path="values"):
    """Every value has its line in the schema, and the other way round."""
    for key in values.keys() - schema["properties"].keys():
        fault(f"{path}.{key} is not in values.schema.json")
    for key in schema["properties"].keys() - values.keys() - {"global"}:
        fault(f"{path}.{key} has no default in values.yaml")
    for key, part in schema["properties"].items():
        if not part.get("description"):
            fault(f"{path}.{key} is not described")
        if "properties" in part and part.get("type") == "object":
            described(part, values.get(key, {}), f"{path}.{key}")


def main():
    command, folder = sys.argv[1:]
    # First the copies: the chart is rendered with them.
    made = {copy: read(origin) for origin, copy in COPIES.items()}
    if command == "write":
        for path, text in made.items():
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    chart = helm_python.Chart.load(CHART)
    made[PLAIN] = plain(chart)
    made[f"{CHART}/README.md"] = readme()
    for path, text in made.items():
        if command == "write":
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        elif not os.path.exists(path) or read(path) != text:
            fault(f"{path} drifted: run `cargo xtask check-deploy --write` and commit")
    described(json.loads(read(f"{CHART}/values.schema.json")),
              yaml.safe_load(read(f"{CHART}/values.yaml")))
    for message in helm_python.lint(CHART, strict=True)["messages"]:
        # 2 is a warning, 3 an error.
        if message["severity"] >= 2:
            fault(f"helm lint: {message['path']}: {message['error']}")
    workspace = re.search(r'^version = "(.*)"', read("Cargo.toml"), re.M).group(1)
    meta = yaml.safe_load(read(f"{CHART}/Chart.yaml"))
    if [meta["version"], meta["appVersion"]] != [workspace, workspace]:
        fault(f"{CHART}/Chart.yaml does not have the workspace's version {workspace}")
    refusals(chart)
    cases = renderings(chart, folder)
    for sentence in faults:
        print(f"deploy: {sentence}")
    if faults:
        sys.exit(1)
    print(f"deploy: chart renders with {cases} sets of values, valid for Kubernetes "
          f"{VERSIONS[0]} to {VERSIONS[-1]} (Helm {helm_python.helm_sdk_version()})")


main()
