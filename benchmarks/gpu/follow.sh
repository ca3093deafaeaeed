#!/bin/bash
# Show a course's log until it is over, or for SECONDS at most; then pack its results.
#   follow.sh OUT SECONDS FOLDER      # FOLDER/results.tar.xz, cut into parts of 15 MB
out=$1 until=$((SECONDS + $2)) to=$3
tail -n +1 -F "$out/sitting.log" 2>/dev/null &
tail=$!
while [ $SECONDS -lt $until ] && kill -0 "$(cat "$out/pid")" 2>/dev/null; do sleep 2; done
sleep 1; kill $tail
mkdir -p "$to"
tar -C "$out" --exclude='*.trace.json*' --exclude='.bench-*' -cf - . | xz -T0 -3 | split -b 15M -d - "$to/results.tar.xz."
for trace in $(ls -S "$out"/*/profile/*.json.gz 2>/dev/null); do
    size=$(stat -c %s "$trace")
    [ "$size" -lt 15000000 ] && cp "$trace" "$to/trace-$(basename "$(dirname "$(dirname "$trace")")").json.gz"
done
ls -l "$to"
