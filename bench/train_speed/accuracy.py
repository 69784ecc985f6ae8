#!/usr/bin/python3
"""Time to accuracy against the plain PyTorch loop: one recipe, the same epochs, accuracy over wall-clock time.

    bench/train_speed/accuracy.py --data cifar10-jpeg.tar.zst [--epochs 6] [--seeds 0 1 2] [--widths 16 32 64]
        [--json FILE]

`recipes/cifar10-reduce20.toml` by ./reducenet and by peer.py, both at once, each on one core with one thread; they change
cores from seed to seed. Seconds are the training's with its look at 5,000 held-out images after every epoch: 45,000 images
to train on, held out by class at random (not the same ones). The peer needs Debian's python3-torch and python3-pil.
"""
import argparse
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import numpy
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from origin import ROOT, commit, cpu_model  # noqa: E402

RECIPE = "recipes/cifar10-reduce20.toml"


def decoded(archive):
    """{train, test}: (images N×32×32×3, labels) of an archive with folders train/CLASS and test/CLASS."""
    found = {}
    process = subprocess.Popen(["zstd", "-dcq", str(archive)], stdout=subprocess.PIPE)
    with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
        for member in tar:
            if member.isfile():
                *_, split, label, _ = pathlib.PurePosixPath(member.name).parts
                image = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")
                found.setdefault(split, []).append((label, numpy.asarray(image)))
    classes = sorted({label for label, _ in found["train"]})
    return {split: (numpy.stack([pixels for _, pixels in items]), numpy.array([classes.index(label) for label, _ in items]))
            for split, items in found.items()}


def write_peer_data(archive, path, validation=5000):
    splits = decoded(archive)
    images, labels = splits["train"]
    random = numpy.random.default_rng(0)
    order = random.permutation(len(images))
    order = order[numpy.argsort(labels[order], kind="stable")]
    held = numpy.zeros(len(images), bool)
    held[order[::len(images) // validation]] = True
    numpy.savez(path, training_images=images[~held], training_labels=labels[~held], validation_images=images[held],
                validation_labels=labels[held], test_images=splits["test"][0], test_labels=splits["test"][1])


def start(command, core, log):
    return subprocess.Popen([str(c) for c in command], cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True,
                            preexec_fn=lambda: os.sched_setaffinity(0, {core}))


def finished(process):
    out = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {process.args}")
    return json.loads(out)


def race(options, seed, folder, peer_data):
    """Both loops with one seed. Returns (ours, peer): {epochs: [{val_top1, seconds}], top1}."""
    out = folder / f"run{seed}"
    ours = ["build/reducenet", "train", RECIPE, "--data", options.data, "--epochs", options.epochs, "--out", out, "--json",
            "--set", f"train.seed={seed}", "--set", "train.threads=1", "--set", f"model.widths={options.widths}",
            "--cache", folder / "cache"]
    peer = ["/usr/bin/python3", "bench/train_speed/peer.py", "--data", peer_data, "--epochs", options.epochs, "--threads", 1,
            "--seed", seed, "--widths", *options.widths]
    cores = sorted(os.sched_getaffinity(0))
    with open(folder / "log.txt", "a") as log:
        running = [start(ours, cores[seed % 2], log), start(peer, cores[1 - seed % 2], log)]
        ours, peer = (finished(process) for process in running)
    seconds, epochs = 0.0, []
    for line in (out / "metrics.jsonl").read_text().splitlines():
        point = json.loads(line)
        if "final" in point:
            break
        seconds += point["seconds"]
        epochs.append({"val_top1": point["val_top1"], "seconds": seconds})
    return {"epochs": epochs, "top1": ours["top1"]}, {"epochs": peer["epochs"], "top1": peer["top1"]}


def seconds_to(run, accuracy):
    return next(point["seconds"] for point in run["epochs"] if point["val_top1"] >= accuracy)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--widths", type=int, nargs=3, default=[16, 32, 64])
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    options.data = options.data.resolve()
    if not options.data.exists():
        parser.error(f"no such file: {options.data}")
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_peer_data(options.data, folder / "peer.npz")
        for seed in options.seeds:
            ours, peer = race(options, seed, folder, folder / "peer.npz")
            both = min(max(point["val_top1"] for point in run["epochs"]) for run in (ours, peer))
            run = {"seed": seed, "ours": ours, "peer": peer, "reached_by_both": both,
                   "ours_s": seconds_to(ours, both), "peer_s": seconds_to(peer, both)}
            runs.append(run)
            print(f"seed {seed}: {100 * both:.2f} % held out after {run['ours_s']:.0f} s (PyTorch {run['peer_s']:.0f} s); all "
                  f"{options.epochs} epochs {ours['epochs'][-1]['seconds']:.0f} s ({peer['epochs'][-1]['seconds']:.0f} s), "
                  f"test {100 * ours['top1']:.2f} % ({100 * peer['top1']:.2f} %)", flush=True)
    if options.json:
        command = (f"bench/train_speed/accuracy.py --data {options.data.name} --epochs {options.epochs} "
                   f"--widths {' '.join(map(str, options.widths))} --seeds {' '.join(map(str, options.seeds))}")
        options.json.write_text(json.dumps({"command": command, "recipe": RECIPE, "commit": commit(), "machine": cpu_model(),
                                            "widths": options.widths, "epochs": options.epochs, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
