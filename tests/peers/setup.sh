#!/bin/sh
# Makes target/peers-venv, the Python environment of the peers that tests compare with, if it is not there yet or not
# the one that requirements.txt asks for. Safe to call from several tests at once. Prints the path of its Python.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${CARGO_TARGET_DIR:-$here/../../target}/peers-venv
mkdir -p "$venv"
exec 9>"$venv.lock"
flock 9
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" >&2
    # Last, so that a broken installation is made anew.
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
echo "$venv/bin/python"
