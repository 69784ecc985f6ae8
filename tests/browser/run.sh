#!/bin/sh
# run.sh REDUCENET: a small frontier's page in a real browser. Only under ./test --full.
set -eu
[ -n "${REDUCENET_FULL-}" ] || exit 77
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/tiny.toml" <<'TOML'
[model]
arch = "reduce"
modules = 1
widths = [4, 8]

[data]
path = "generated:320"
validation = 64

[train]
epochs = 1
threads = 1

[frontier]
survivors = [2, 0]
epochs = 1
controls = ["plain"]
TOML
"$1" frontier "$work/tiny.toml" --out "$work/front" >/dev/null
python3 "$here/explore.py" "$work/front/index.html"
