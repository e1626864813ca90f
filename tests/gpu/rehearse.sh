#!/bin/sh
# rehearse.sh BUILD PART... - gpu_check.py on the CPU over what was built, as if that were a bundle: is the program right?
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/bin" "$folder/models"
for program in tokenring tests/e2e/tokenring_hooked tests/gpu/gpu_ops tests/gpu/gpu_models; do
    ln -s "$build/$program" "$folder/bin/"
done
ln -s "$source/tests/golden" "$folder/golden"
ln -s "$source/models/ringlet" "$folder/models/ringlet"
PYTHONDONTWRITEBYTECODE=1 python3 "$source/tests/gpu/gpu_check.py" "$folder" --rehearse --device cpu --json "$folder/figures.json" "$@"
grep -q '"rehearsal": true' "$folder/figures.json"
