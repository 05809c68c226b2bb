#!/bin/sh
# Makes a Python environment below target/, if it is not there yet or not the one that the requirements ask for. Safe to call
# from several tests at once. Prints the path of its Python.
#
#   setup.sh [REQUIREMENTS]   without: those of the peers, beside this file. The environment is named by their directory.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
requirements=${1:-$here/requirements.txt}
venv=${CARGO_TARGET_DIR:-$here/../../target}/$(basename "$(dirname "$requirements")")-venv
mkdir -p "$venv"
exec 9>"$venv.lock"
flock 9
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" >&2
    # Last, so that a broken installation is made anew.
    cp "$requirements" "$venv/requirements.txt"
fi
echo "$venv/bin/python"
