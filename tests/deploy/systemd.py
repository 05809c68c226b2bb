"""docs/deploy/systemd: with systemd's own verifier and its judgement of what an intruder could do."""

import re
import shlex
import subprocess
import tempfile
from pathlib import Path

from launch import Launch

# In tenths: 1.2 as it is. What a service without any of it has is 9.6.
EXPOSURE_MAX = "15"


def faults(directory: Path, devstatus: Path, _probes: set[str]) -> list[str]:
    text = (directory / "devstatus.service").read_text()
    found = verified(text, devstatus)
    start = re.search(r"^ExecStart=/usr/bin/devstatus (.*)$", text, re.MULTILINE)
    credential = re.search(r"^LoadCredential=(\w+):", text, re.MULTILINE)
    if not start or not credential:
        return found + ["devstatus.service: does not start devstatus with a credential"]
    lines = (directory / "environment.example").read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    # The unit may listen on loopback: a proxy on the same machine is usual there.
    arguments = shlex.split(start[1].replace("%l", "host").replace("%d", "/credentials"))
    launch = Launch(
        "devstatus.service", [*arguments, "--listen=0.0.0.0", "--allow-anonymous"], variables, {f"/credentials/{credential[1]}": "a token"}
    )
    return found + launch.faults(devstatus)


def verified(text: str, devstatus: Path) -> list[str]:
    with tempfile.TemporaryDirectory() as directory:
        unit = Path(directory) / "devstatus.service"
        # The program is not installed where it is checked.
        unit.write_text(text.replace("ExecStart=/usr/bin/devstatus", f"ExecStart={devstatus}"))
        verify = run(["systemd-analyze", "verify", "--man=no", unit])
        # What it ignores it only mentions, so every word is a fault.
        complaints = [line for line in verify.stderr.splitlines() if "devstatus.service" in line]
        found = [f"devstatus.service: {line}" for line in complaints]
        if verify.returncode != 0 and not complaints:
            found.append(f"devstatus.service: systemd-analyze verify fails: {verify.stderr.strip()}")
        security = run(["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", unit])
        if security.returncode != 0:
            found.append(f"devstatus.service: {security.stdout.strip().splitlines()[-1:]} {security.stderr.strip()}")
    return found


def run(command: list) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
