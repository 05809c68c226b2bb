#!/bin/sh
# Installs aedes, a broker of Node.js, below target/, if it is not there yet. Prints the path of its program.
set -eu
version=1.0.2
# The broker itself, of which the program takes any later one.
broker=1.2.0
here=$(cd "$(dirname "$0")" && pwd)
directory=${CARGO_TARGET_DIR:-$here/../../target}/aedes-cli-$version-$broker
mkdir -p "$directory"
exec 9>"$directory.lock"
flock 9
program=$directory/node_modules/aedes-cli/bin/aedes
[ -e "$program" ] || npm install --silent --no-save --ignore-scripts --prefix "$directory" "aedes-cli@$version" "aedes@$broker" >&2
echo "$program"
