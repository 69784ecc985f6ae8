#!/usr/bin/env python3
"""Training time and memory of linear branches: with a BN each, scaled outputs, or summed in weight space.

    bench/train_speed/branches.py [--rounds 3] [--threads 1] [--json FILE]

Trains recipes/cifar10-orepa.toml on generated images for one epoch, the forms in turn; prints the best images/s of the
rounds (what other programs on the machine took least from) and the largest resident memory of the process.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from origin import ROOT, commit, cpu_model  # noqa: E402

FORMS = {
    "none": ("none", ["model.branches=[]"]),
    "normed": ("a BN each, outputs added", ["model.branch_sum=normed"]),
    "scaled": ("scaled outputs, one BN", ["model.branch_sum=scaled"]),
    "kernels": ("kernels added at every step, one BN", ["model.branch_sum=kernels"]),
}


def train(settings, threads, images):
    """images/s, and peak resident memory in MiB."""
    with tempfile.TemporaryDirectory() as out:
        command = [str(ROOT / "build/reducenet"), "train", str(ROOT / "recipes/cifar10-orepa.toml"), "--out", out, "--json"]
        for setting in [*settings, f"train.threads={threads}", f"data.path=generated:{images}", "data.validation=64",
                        "train.epochs=1", "train.batch_norm_batches=0"]:
            command += ["--set", setting]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"failed: {command}")
        return json.loads(text)["images_per_s"], usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=1600)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    runs = {form: [] for form in FORMS}
    _, idle = train([*FORMS["none"][1], "optimizer.batch=1"], options.threads, 80)
    for _ in range(options.rounds):
        for form, (_, settings) in FORMS.items():
            runs[form].append(train(settings, options.threads, options.images))
    result = {"threads": options.threads, "rounds": options.rounds, "batch": 128, "idle_mib": idle, "forms": {
        form: {"label": FORMS[form][0], "images_per_s": max(speed for speed, _ in found),
               "peak_mib": max(memory for _, memory in found)} for form, found in runs.items()}}
    result |= {"commit": commit(), "machine": cpu_model()}
    for form in result["forms"].values():
        print(f"{form['label']}: {form['images_per_s']:.0f} images/s, {form['peak_mib']:.0f} MiB")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
