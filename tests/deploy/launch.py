"""Starts the real devstatus with the arguments, variables and files that a deployment gives it, far enough to see whether it
takes them. Every flag, variable and value is judged by the program itself; no list of them is kept here."""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

# An address that no machine has (RFC 5737). Listening there fails, which is the first thing that the program does after
# it has understood all of its settings: nothing is connected to, and nothing is left running.
NOWHERE = "192.0.2.1"
STOPPED = f"cannot listen on {NOWHERE}:5000"
BOUND_S = 60


@dataclass
class Launch:
    """One instance as it is deployed."""

    name: str
    arguments: list[str]
    variables: dict[str, str] = field(default_factory=dict)
    # Contents of the files that it finds, by absolute path.
    files: dict[str, str] = field(default_factory=dict)

    def application_id(self) -> str | None:
        """As it is given; a flag beats the variable."""
        for argument in self.arguments:
            if argument.startswith("--id="):
                return argument.removeprefix("--id=")
        return self.variables.get("DEVSTATUS_ID")

    def faults(self, devstatus: Path) -> list[str]:
        """What the program has against it."""
        with tempfile.TemporaryDirectory() as directory:
            moved = self._moved_to(Path(directory), devstatus)
            if not moved._listens_for_others():
                return [f"{self.name}: listens on loopback, where nobody outside reaches it"]
            arguments = [re.sub(r"^--listen=.*", f"--listen={NOWHERE}", text) for text in moved.arguments]
            variables = moved.variables | {"PATH": os.environ["PATH"], "STATE_DIRECTORY": directory}
            if "DEVSTATUS_LISTEN" in variables:
                variables["DEVSTATUS_LISTEN"] = NOWHERE
            ended = subprocess.run(
                [devstatus, *arguments], env=variables, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True,
                text=True, timeout=BOUND_S, check=False,
            )
        if ended.returncode == 1 and STOPPED in ended.stderr + ended.stdout:
            return []
        return [f"{self.name}: devstatus ends with {ended.returncode}: {ended.stderr.strip() or ended.stdout.strip()}"]

    def _listens_for_others(self) -> bool:
        flags = [text.removeprefix("--listen=") for text in self.arguments if text.startswith("--listen=")]
        listen = (flags or [self.variables.get("DEVSTATUS_LISTEN", "127.0.0.1")])[-1]
        return listen in ("0.0.0.0", "::")

    def _moved_to(self, directory: Path, devstatus: Path) -> "Launch":
        """The same with its files in a directory of ours."""
        arguments, variables = list(self.arguments), dict(self.variables)
        for number, (path, text) in enumerate(self.files.items()):
            ours = directory / f"file-{number}"
            if path.endswith("/api-keys"):
                # What stands there is for the program alone to write.
                create = [devstatus, "keys", "create", "sample", "--organization=abc123", f"--keys-file={ours}"]
                subprocess.run(create, capture_output=True, timeout=BOUND_S, check=True)
            else:
                ours.write_text(text)
            arguments = [argument.replace(path, str(ours)) for argument in arguments]
            variables = {name: value.replace(path, str(ours)) for name, value in variables.items()}
        return Launch(self.name, arguments, variables)
