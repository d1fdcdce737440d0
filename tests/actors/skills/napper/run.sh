#!/bin/sh
set -eu
mine="$1/$2-$OPENCLAW_TASK_ATTEMPT"
sleep 300 >/dev/null 2>&1 &
child=$!
trap 'kill $child' EXIT
echo "$$ $child" >"$mine.tmp"
mv "$mine.tmp" "$mine.started"
while [ ! -e "$mine.go" ]; do sleep 0.1; done
echo "$OPENCLAW_TASK_ATTEMPT"
