#!/bin/sh
# Builds the broker RMQTT below target/, if it is not there yet, which takes some minutes. Prints the path of its program.
set -eu
version=0.24.0
here=$(cd "$(dirname "$0")" && pwd)
directory=${CARGO_TARGET_DIR:-$here/../../target}/rmqtt-$version
program=$directory/build/debug/rmqtt-broker
mkdir -p "$directory"
exec 9>"$directory.lock"
flock 9
if [ ! -e "$program" ]; then
  # A copy, so that no lock file is written beside this one.
  cp -r "$here/Cargo.toml" "$here/src" "$directory"
  CARGO_TARGET_DIR=$directory/build cargo build --quiet --manifest-path "$directory/Cargo.toml" >&2
fi
echo "$program"
