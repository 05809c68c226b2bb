"""docs/deploy/compose: against the schema of the Compose specification, and each instance of devstatus in it."""

import json
import re
from importlib.resources import files
from pathlib import Path

import jsonschema
import yaml

from launch import Launch

SAMPLES = {"DEVSTATUS_KEY": "a-abc123-1234567890"}
SECRET = "a-secret"


def faults(directory: Path, devstatus: Path, probes: set[str]) -> list[str]:
    schema = json.loads(files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    found = []
    for path in sorted(directory.glob("*.yml")):
        document = yaml.safe_load(path.read_text())
        found += [f"{path.name}: {error.json_path}: {error.message}" for error in validator.iter_errors(document)]
        if not found:
            found += [f"{path.name}: {fault}" for fault in of_document(document, devstatus, probes)]
    return found


def of_document(document: dict, devstatus: Path, probes: set[str]) -> list[str]:
    services = {name: service for name, service in document["services"].items() if name.startswith("devstatus-")}
    launches = [launch(name, service, document) for name, service in services.items()]
    found = [] if len(launches) >= 2 else ["fewer than two instances"]
    ids = [launch.application_id() for launch in launches]
    if None in ids or len(set(ids)) < len(ids):
        found.append(f"application ids that are not each instance's own: {ids}")
    for name, service in services.items():
        url = re.match(r"http://127\.0\.0\.1:5000(/\w+)$", service["healthcheck"]["test"][-1])
        if not url or url[1] not in probes:
            found.append(f"{name}: the health check asks for no resource of the service")
        if not all(port.endswith(":5000") for port in service["ports"]):
            found.append(f"{name}: publishes another port than the service's")
        host = re.search(r"[@/]([\w-]+):\d+", service["environment"]["DEVSTATUS_STORE"])
        if not host or host[1] not in document["services"] or host[1] not in service["depends_on"]:
            found.append(f"{name}: its store is no service that it waits for")
    return found + [fault for launch in launches for fault in launch.faults(devstatus)]


def launch(name: str, service: dict, document: dict) -> Launch:
    missing = [secret for secret in service["secrets"] if secret not in document["secrets"]]
    if missing:
        raise KeyError(f"{name}: no such secret: {missing}")
    variables = {key: interpolated(str(value)) for key, value in service["environment"].items()}
    files = {f"/run/secrets/{secret}": SECRET for secret in service["secrets"]}
    # A file that is mounted alone is not seen to be replaced, so the keys come in a directory.
    directories = [volume.split(":")[1] for volume in service["volumes"]]
    keys_file = variables["DEVSTATUS_KEYS_FILE"]
    if str(Path(keys_file).parent) in directories:
        files[keys_file] = SECRET
    return Launch(name, service.get("command", ["serve"]), variables, files)


def interpolated(text: str) -> str:
    """As Compose does it with the variables of whoever starts it."""
    variable = r"\$(?:\$|\{(\w+)(?::?[?-][^}]*)?\})"
    return re.sub(variable, lambda match: SAMPLES[match[1]] if match[1] else "$", text)
