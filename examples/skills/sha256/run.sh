#!/bin/sh
# Usage: run.sh -- PATH. Prints {"sha256": "...", "bytes": n}. A relative path is one in the empty scratch folder.
set -eu
[ "${1-}" = -- ] && shift
file=$1

if [ ! -f "$file" ]; then
    echo "not a file, or not there: $file" >&2
    exit 66 # EX_NOINPUT
fi

# The file comes in by redirection: its name is never an argument, so no tool can take it for an option or escape it.
if command -v sha256sum >/dev/null 2>&1; then
    sum=$(sha256sum <"$file")
else
    sum=$(shasum -a 256 <"$file")
fi
size=$(wc -c <"$file")

printf '{"sha256": "%s", "bytes": %d}\n' "${sum%% *}" "$size"
