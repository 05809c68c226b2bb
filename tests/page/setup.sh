#!/bin/sh
# Installs axe-core, the checker of accessibility, below target/, if it is not there yet. Prints the path of its script.
set -eu
version=4.14.1
here=$(cd "$(dirname "$0")" && pwd)
directory=${CARGO_TARGET_DIR:-$here/../../target}/axe-core-$version
mkdir -p "$directory"
exec 9>"$directory.lock"
flock 9
script=$directory/node_modules/axe-core/axe.min.js
[ -e "$script" ] || npm install --silent --no-save --ignore-scripts --prefix "$directory" "axe-core@$version" >&2
echo "$script"
