#!/usr/bin/env python3
"""Training speed against the plain PyTorch loop: same network, batch, optimiser, augmentation and LibTorch version.

    bench/train_speed/run.py [--rounds 5] [--threads 2] [--json FILE]

Runs ours, peer, ours, peer, … and prints each one's median images/s and the median of the ratios, round by round.
The peer needs Debian's python3-torch, which shares LibTorch with ./reducenet.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def ours(threads, expansion):
    with tempfile.TemporaryDirectory() as out:
        command = [ROOT / "build/reducenet", "train", ROOT / "bench/train_speed/recipe.toml", "--out", out, "--json",
                   "--set", f"train.threads={threads}", "--set", f"model.expansion={expansion}"]
        done = subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return json.loads(done.stdout)["images_per_s"]


def peer(threads, expansion):
    command = ["/usr/bin/python3", str(ROOT / "bench/train_speed/peer.py"), "--threads", str(threads), "--expansion",
               str(expansion), "--steps", "70"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["images_per_s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--expansion", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    pairs = []
    for i in range(options.rounds):
        pair = ours(options.threads, options.expansion), peer(options.threads, options.expansion)
        pairs.append(pair)
        print(f"round {i + 1}: ours {pair[0]:.0f}, PyTorch {pair[1]:.0f} images/s, ratio {pair[0] / pair[1]:.2f}", flush=True)
    result = {
        "threads": options.threads, "expansion": options.expansion, "rounds": options.rounds,
        "ours_images_per_s": statistics.median(a for a, _ in pairs),
        "peer_images_per_s": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
    }
    print(f"medians: ours {result['ours_images_per_s']:.0f}, PyTorch {result['peer_images_per_s']:.0f} images/s, "
          f"ratio {result['ratio']:.2f} ({options.threads} threads, expansion {options.expansion})")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
