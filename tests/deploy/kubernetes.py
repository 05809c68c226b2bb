"""docs/deploy/kubernetes: against the schemas of the Kubernetes API, and each instance of devstatus in it."""

import re
from pathlib import Path

import kubernetes_validate
import yaml

from launch import Launch

# The newest version that the validator has schemas of stands in its own version.
VERSION = ".".join(kubernetes_validate.__version__.split(".")[:2])


def faults(directory: Path, devstatus: Path, probes: set[str]) -> list[str]:
    found, documents = [], []
    for path in sorted(directory.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            documents.append(document)
            try:
                kubernetes_validate.validate(document, VERSION, strict=True)
            except Exception as error:  # noqa: BLE001 - the validator raises several unrelated kinds
                found.append(f"{path.name}: {document.get('kind')}: {error}")
    return found or of_documents(documents, devstatus, probes)


def of_documents(documents: list[dict], devstatus: Path, probes: set[str]) -> list[str]:
    by_kind = {}
    for document in documents:
        by_kind.setdefault(document["kind"], {})[document["metadata"]["name"]] = document
    found = []
    for workload in by_kind["StatefulSet"].values():
        found += of_workload(workload, by_kind)
    workload = by_kind["StatefulSet"]["devstatus"]
    container = workload["spec"]["template"]["spec"]["containers"][0]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if container[probe]["httpGet"]["path"] not in probes:
            found.append(f"{probe} asks for no resource of the service")
    if [port["containerPort"] for port in container["ports"]] != [5000]:
        found.append("the container's port is not the service's")
    launches = [launch(workload, container, number, by_kind) for number in range(workload["spec"]["replicas"])]
    ids = [launch.application_id() for launch in launches]
    if len(launches) < 2 or None in ids or len(set(ids)) < len(ids):
        found.append(f"application ids that are not each instance's own: {ids}")
    host = re.search(r"[@/]([\w-]+):\d+", launches[0].variables["DEVSTATUS_STORE"])
    if not host or host[1] not in by_kind["Service"]:
        found.append("the store is no service of these manifests")
    return found + [fault for launch in launches for fault in launch.faults(devstatus)]


def of_workload(workload: dict, by_kind: dict) -> list[str]:
    """What no schema holds: that what names each other fits, and that nothing has more rights than it needs."""
    name, spec = workload["metadata"]["name"], workload["spec"]
    labels, pod = spec["template"]["metadata"]["labels"], spec["template"]["spec"]
    found = []
    if pod.get("enableServiceLinks", True):
        found.append(f"{name}: its pods get variables about every service (enableServiceLinks)")
    selectors = {"its own selector": spec["selector"]["matchLabels"]}
    for kind in ("Service", "PodDisruptionBudget"):
        for other in by_kind.get(kind, {}).values():
            if other["metadata"]["name"] in (name, spec["serviceName"]):
                selector = other["spec"]["selector"]
                selectors[kind] = selector.get("matchLabels", selector)
    found += [f"{name}: {kind} does not select its pods" for kind, wanted in selectors.items() if wanted != labels]
    if spec["serviceName"] not in by_kind["Service"]:
        found.append(f"{name}: no service {spec['serviceName']}")
    volumes = {volume["name"] for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
    for container in pod["containers"]:
        security = pod["securityContext"] | container["securityContext"]
        if not (security["runAsNonRoot"] and security["readOnlyRootFilesystem"]):
            found.append(f"{name}: {container['name']} may be root or change its image")
        if not container["resources"]["requests"].keys() >= {"cpu", "memory"}:
            found.append(f"{name}: {container['name']} requests no cpu or memory")
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        found += [f"{name}: no volume {volume}" for volume in mounted - volumes]
    for volume in pod["volumes"]:
        for item in volume.get("secret", {}).get("items", []):
            if item["key"] not in by_kind["Secret"][volume["secret"]["secretName"]]["stringData"]:
                found.append(f"{name}: no key {item['key']} in the secret")
    return found


def launch(workload: dict, container: dict, number: int, by_kind: dict) -> Launch:
    pod_name = f"{workload['metadata']['name']}-{number}"
    # As in a pod without `enableServiceLinks: false`: whoever copies the manifest may leave it out.
    variables = service_links(by_kind["Service"])
    for source in container["envFrom"]:
        variables |= by_kind["ConfigMap"][source["configMapRef"]["name"]]["data"]
    for entry in container["env"]:
        match entry:
            case {"name": name, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}:
                variables[name] = pod_name
            case {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}:
                variables[name] = by_kind["Secret"][secret]["stringData"][key]
            case {"name": name, "value": value}:
                variables[name] = value
    arguments = [re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], text) for text in container["args"]]
    files = {}
    volumes = {volume["name"]: volume for volume in workload["spec"]["template"]["spec"]["volumes"]}
    for mount in container["volumeMounts"]:
        secret = volumes[mount["name"]]["secret"]
        for item in secret["items"]:
            value = by_kind["Secret"][secret["secretName"]]["stringData"][item["key"]]
            files[f"{mount['mountPath']}/{item['path']}"] = value
    return Launch(pod_name, arguments, variables, files)


def service_links(services: dict) -> dict[str, str]:
    """The variables that Kubernetes adds to each pod for every service of its namespace that has an address."""
    variables = {}
    for number, (name, service) in enumerate(sorted(services.items())):
        if service["spec"].get("clusterIP") == "None":
            continue
        address, prefix = f"10.43.0.{number + 7}", name.upper().replace("-", "_")
        ports = service["spec"]["ports"]
        variables[f"{prefix}_SERVICE_HOST"] = address
        variables[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            protocol = port.get("protocol", "TCP")
            url = f"{protocol.lower()}://{address}:{port['port']}"
            link = f"{prefix}_PORT_{port['port']}_{protocol}"
            variables |= {link: url, f"{link}_PROTO": protocol.lower(), f"{link}_PORT": str(port["port"]), f"{link}_ADDR": address}
            variables.setdefault(f"{prefix}_PORT", url)
            if "name" in port:
                variables[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    return variables
