#!/bin/bash
# On a GPU machine that got a bundle (scripts/offline_bundle.py), from a checkout of the same state: unpack it, then hold
# sittings one after another in the background, in one time budget. Says at once what is wrong, and starts nothing then.
#   course.sh BUNDLE OUT SECONDS SITTING.yaml ...      # OUT/sitting.log; follow.sh shows it and packs the results
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bundle=$(realpath "$1") seconds=$3
mkdir -p "$2"
out=$(realpath "$2")
shift 3
. "$bundle/unpack.sh"
headrace=$(dirname "$(command -v headrace)")/../env/bin/python3
ours=$here/../../src/headrace theirs=$("$headrace" -c 'import headrace; print(headrace.__path__[0])')
[ "$ours" -ef "$theirs" ] || cp -r "$ours/." "$theirs"
"$headrace" "$here/models.py" "$here/models" > /dev/null
nvcc=$(command -v nvcc || true)  # DeepGEMM compiles with it
[ -z "$nvcc" ] || export CUDA_HOME=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
hold() {
    local end=$((SECONDS + seconds))
    for sitting in "$@"; do
        "$headrace" "$here/sitting.py" "$sitting" "$out" --budget $((end - SECONDS)) --processes "${PROCESSES:-4}"
    done
    echo "course over"
}
cd "$here"
setsid nohup bash -c "$(declare -f hold); headrace='$headrace' here='$here' out='$out' seconds=$seconds; hold $(printf '%q ' "$@")" \
    > "$out/sitting.log" 2>&1 < /dev/null &
echo $! > "$out/pid"
