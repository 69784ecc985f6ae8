#!/usr/bin/env python3
"""Speed and accuracy in 8 and 16 bits → docs/results/number-formats.

    taskset -c 0 bench/narrow/run.py speed [NAME|MODEL …]            into speed.json, beside what stands there
    bench/narrow/run.py accuracy NAME=MODEL … --data PATH            into accuracy.json

speed runs build/bench/narrow_speed for each name (see there). accuracy runs `reducenet export MODEL --dtype int8 --data PATH`:
ranges from 256 training images, top-1 over all test images. Every entry has the commit, machine and command it came from."""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from origin import ROOT, commit, cpu_model  # noqa: E402

RESULTS = ROOT / "docs/results/number-formats"
NAMES = ["plain29", "plain11", "resnet20", "affine-2048", "3x3-64x56", "3x3-128x28", "3x3-256x14", "3x3-512x7", "1x1-64x56",
         "1x1-256x14", "depthwise3-64x56", "depthwise7-256x14", "3x3-groups-of-16-128x28"]


def output(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def origin(command):
    return {"commit": commit(), "machine": cpu_model(), "command": command}


def keep(file, entries):
    path = RESULTS / file
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(kept | entries, indent=1) + "\n")


def speed(options):
    for name in options.what or NAMES:
        shown = pathlib.Path(name).name
        entry = json.loads(output("build/bench/narrow_speed", name))
        keep("speed.json", {entry["network"]: entry | origin(f"taskset -c 0 bench/narrow/run.py speed {shown}")})
        print(json.dumps(entry), flush=True)


def accuracy(options):
    for what in options.what:
        name, model = what.split("=", 1)
        with tempfile.TemporaryDirectory() as folder:
            entry = json.loads(output("build/reducenet", "export", model, "-o", f"{folder}/{name}.onnx", "--dtype", "int8",
                                      "--data", options.data, "--json"))
        entry.pop("out")
        entry["file_bytes_f32"] = 4 * json.loads(output("build/reducenet", "inspect", model, "--json"))["parameters"]
        command = f"reducenet export {name}.safetensors -o {name}.onnx --dtype int8 --data {pathlib.Path(options.data).name}"
        keep("accuracy.json", {name: entry | origin(command)})
        print(json.dumps(entry), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["speed", "accuracy"])
    parser.add_argument("what", nargs="*")
    parser.add_argument("--data")
    options = parser.parse_args()
    {"speed": speed, "accuracy": accuracy}[options.kind](options)


if __name__ == "__main__":
    main()
