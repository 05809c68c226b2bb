"""What the platform's own Python packages read from settings files and variables.

A line on stdin is one case in JSON, {"kind": "ini" | "yaml" | "env", "text": ..., "variables": {...}}; a line on stdout is
its reading: {"error": type}, or the values as the packages hand them to their MQTT client. Nothing connects.
"""

import json
import os
import sys
import tempfile
import types

# ibmiotf imports a name it never uses from a module that Python dropped in 3.10.
sys.modules.setdefault("symbol", types.ModuleType("symbol")).__dict__.setdefault("parameters", None)

import ibmiotf.application
import wiotp.sdk.application
from wiotp.sdk.application.config import ApplicationClientConfig


def read_ini(path):
    """ibmiotf: the values and, as its Client does, organization from the key and client id from the type."""
    options = ibmiotf.application.ParseConfigFile(path)
    organization = options["auth-key"].split("-")[1]
    prefix = "a" if options["type"] == "standalone" else "A"
    return {
        "org": options["org"],
        "type": options["type"],
        "host": organization + ".messaging." + options["domain"],
        "client_id": prefix + ":" + organization + ":" + options["id"],
        "key": options["auth-key"],
        "token": options["auth-token"],
        "port": options["port"],
        "clean": options["clean-session"],
    }


def from_config(config):
    return {
        "host": config.orgId + ".messaging." + config.domain,
        "client_id": config.clientId,
        "key": config.apiKey,
        "token": config.apiToken,
        "port": config.port,
        "transport": config.transport,
        "clean": config.cleanStart,
        "session_expiry": config.sessionExpiry,
        "keep_alive": config.keepAlive,
        "ca_file": config.caFile,
        "log_level": config.logLevel,
    }


def read_env(variables):
    for name in [name for name in os.environ if name.startswith("WIOTP_")]:
        del os.environ[name]
    os.environ.update(variables)
    # Both steps of the package: the variables, then the client's own look at what they gave.
    return from_config(ApplicationClientConfig(**wiotp.sdk.application.parseEnvVars()))


def read_case(case, path):
    if case["kind"] == "env":
        return read_env(case["variables"])
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(case["text"])
    if case["kind"] == "ini":
        return read_ini(path)
    return from_config(ApplicationClientConfig(**wiotp.sdk.application.parseConfigFile(path)))


def main():
    with tempfile.TemporaryDirectory() as directory:
        for line in sys.stdin:
            try:
                reading = read_case(json.loads(line), os.path.join(directory, "settings"))
                answer = json.dumps(reading, default=str)
            except Exception as error:  # Whatever a package raises on a bad file is its answer.
                answer = json.dumps({"error": type(error).__name__})
            print(answer, flush=True)


main()
