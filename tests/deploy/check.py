"""Checks docs/deploy as far as that goes without an engine that runs it: schemas, linters, and the settings by the program.

    check.py DEVSTATUS           the program that the files start

Then each fault of `breakages` is put into a copy, which must not pass: a check that finds nothing in them would be none."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import compose
import kubernetes
import systemd
from breakages import BREAKAGES

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DEPLOY = ROOT / "docs" / "deploy"
TOOLS = Path(sys.executable).parent


def main() -> int:
    devstatus = Path(sys.argv[1]).resolve()
    found = faults(DEPLOY, devstatus)
    for fault in found:
        print(f"deploy-check: {fault}", file=sys.stderr)
    if found:
        return 1
    missed = [breakage for breakage in BREAKAGES if not notices(breakage, devstatus)]
    for path, old, new, _ in missed:
        print(f"deploy-check: does not notice {new!r} instead of {old!r} in {path}", file=sys.stderr)
    untouched = {str(path.relative_to(DEPLOY)) for path in checked_files()} - {path for path, *_ in BREAKAGES}
    for path in sorted(untouched):
        print(f"deploy-check: nothing shows that a fault in {path} would be noticed", file=sys.stderr)
    if missed or untouched:
        return 1
    print(f"deploy-check: {len(checked_files())} files without a fault, {len(BREAKAGES)} faults put into them noticed")
    return 0


def checked_files() -> list[Path]:
    return [path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix not in (".md", ".dockerignore")]


def faults(deploy: Path, devstatus: Path) -> list[str]:
    probes = {path for path in json.loads((ROOT / "docs/openapi.json").read_text())["paths"] if path in ("/livez", "/readyz")}
    found = linted([TOOLS / "yamllint", "--strict", "--format=parsable", "--config-file", HERE / "yamllint.yaml", deploy])
    found += linted([TOOLS / "hadolint", "--failure-threshold=style", deploy / "Dockerfile"])
    if found:
        return found
    for part in (compose, kubernetes, systemd):
        directory = deploy / part.__name__
        try:
            found += part.faults(directory, devstatus, probes)
        except (KeyError, IndexError, TypeError) as error:
            found.append(f"{part.__name__}: misses {error}")
    return found


def linted(command: list) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return [] if done.returncode == 0 else (done.stdout + done.stderr).strip().splitlines() or [f"{command[0]} fails"]


def notices(breakage: tuple[str, str, str, str], devstatus: Path) -> bool:
    path, old, new, expected = breakage
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "deploy"
        shutil.copytree(DEPLOY, copy)
        text = (copy / path).read_text()
        if old not in text:
            return False
        (copy / path).write_text(text.replace(old, new, 1))
        return any(expected in fault for fault in faults(copy, devstatus))


if __name__ == "__main__":
    sys.exit(main())
