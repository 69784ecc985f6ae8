#!/bin/sh
# run.sh DUMP BUILD_FOLDER: installs ONNX and ONNX Runtime from PyPI into BUILD_FOLDER/venv once, then dumps and checks.
set -eu
here=$(dirname "$0") dump=$1 folder=$2
if [ ! -x "$folder/venv/bin/python" ] || ! "$folder/venv/bin/python" -c 'import onnx, onnxruntime' 2>/dev/null; then
  /usr/bin/python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx onnxruntime
fi
"$dump" "$folder/models"
"$folder/venv/bin/python" "$here/check.py" "$folder/models"
