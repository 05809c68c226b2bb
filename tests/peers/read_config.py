"""What the platform's own Python packages read from settings files and variables.

Takes a JSON list of cases on stdin, {"kind": "ini" | "yaml" | "env", "text": ..., "variables": {...}}, and writes the
list of readings: {"error": type} or the values as the packages hand them to their MQTT client. Nothing connects.
"""

import json
import os
import sys
import tempfile

import ibmiotf.application
import wiotp.sdk.application
from wiotp.sdk.application.config import ApplicationClientConfig


def read_ini(path):
    """ibmiotf: the values and, as its Client does, organization from the key and client id from the type."""
    options = ibmiotf.application.ParseConfigFile(path)
    organization = options["auth-key"].split("-")[1]
    prefix = "a" if options["type"] == "standalone" else "A"
    return {
        "file_organization": options["org"],
        "host": organization + ".messaging." + options["domain"],
        "client_id": prefix + ":" + organization + ":" + options["id"],
        "key": options["auth-key"],
        "token": options["auth-token"],
        "port": options["port"],
        # Its client hands this to paho: anything but the exact text "false" is true.
        "clean_session": options["clean-session"] != "false",
        "clean_session_text": options["clean-session"],
    }


def from_config(options):
    config = ApplicationClientConfig(**options)
    return {
        "host": config.orgId + ".messaging." + config.domain,
        "client_id": config.clientId,
        "key": config.apiKey,
        "token": config.apiToken,
        "port": config.port,
        "transport": config.transport,
        "clean_start": config.cleanStart,
        "session_expiry": config.sessionExpiry,
        "keep_alive": config.keepAlive,
        "ca_file": config.caFile,
        "log_level": config.logLevel,
    }


def read_env(variables):
    for name in [name for name in os.environ if name.startswith("WIOTP_")]:
        del os.environ[name]
    os.environ.update(variables)
    return from_config(wiotp.sdk.application.parseEnvVars())


def read_case(case, directory):
    if case["kind"] == "env":
        return read_env(case["variables"])
    path = os.path.join(directory, "settings")
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(case["text"])
    if case["kind"] == "ini":
        return read_ini(path)
    return from_config(wiotp.sdk.application.parseConfigFile(path))


def main():
    readings = []
    with tempfile.TemporaryDirectory() as directory:
        for case in json.load(sys.stdin):
            try:
                readings.append(read_case(case, directory))
            except Exception as error:  # Whatever a package raises on a bad file is its answer.
                readings.append({"error": type(error).__name__})
    json.dump(readings, sys.stdout)


main()
