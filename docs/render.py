#!/usr/bin/env python3
"""Fills the tables in README.md and docs/*.md from the JSON files under docs/results/.

    docs/render.py           rewrite the tables
    docs/render.py --check   exit 1 and name the file when a table is out of date

A table stands between `<!-- table NAME -->` and `<!-- end -->`; TABLES below has one function a name.
"""
import json
import re
import sys

from experiment_tables import beside, experiments, frontier, gains, ingredients, squeeze, systems, worth
from gains_rows import BESIDE_RESNETS, RESNETS
from systems_rows import SYSTEMS
from tables import RESULTS, ROOT, milliseconds, rows


def train_speed():
    body = []
    for path in sorted((RESULTS / "train_speed").glob("threads*.json")):
        r = json.loads(path.read_text())
        body.append([r["threads"], r["expansion"], f"{r['ours_images_per_s']:.0f}", f"{r['peer_images_per_s']:.0f}",
                     f"**{r['ratio']:.2f}**", r["rounds"],
                     f"`bench/train_speed/run.py --threads {r['threads']} --expansion {r['expansion']} "
                     f"--rounds {r['rounds']}`"])
    return rows(["threads", "expansion", "ours, images/s", "PyTorch, images/s", "ratio (median of pairs)", "pairs",
                 "command"], body)


def time_to_accuracy():
    body = []
    for run in json.loads((RESULTS / "train_speed/accuracy.json").read_text())["runs"]:
        ours, peer = (run[side]["epochs"][-1]["seconds"] for side in ("ours", "peer"))
        body.append([run["seed"], points(run["reached_by_both"]), f"{run['ours_s']:.0f}", f"{run['peer_s']:.0f}", f"{ours:.0f}",
                     f"{peer:.0f}", f"**{peer / ours:.2f}**", points(run["ours"]["top1"]), points(run["peer"]["top1"])])
    return rows(["seed", "best held-out top-1 that both reach, %", "ours, s", "PyTorch, s", "all epochs: ours, s", "PyTorch, s",
                 "ratio", "test top-1: ours, %", "PyTorch, %"], body)


COLLAPSE_FORMS = ["training", "onnxsim", "onnxoptimizer", "own", "ours"]


def collapse_results():
    return [json.loads(path.read_text()) for path in sorted((RESULTS / "collapse").glob("*.json"))]


def collapse(key, scale, digits):
    """One row a network, one column a form."""
    def table():
        body = []
        for r in collapse_results():
            cells = [r["forms"].get(form, {}).get(key) for form in COLLAPSE_FORMS]
            row = [r["model"], *("–" if c is None else f"{c / scale:.{digits}f}" for c in cells)]
            if key == "median_ms":
                for ratio in ("ours_to_best", "control_to_best"):
                    row.append("–" if ratio not in r else "{1:.3f} ({0:.3f} to {2:.3f})".format(*r[ratio]))
            body.append(row)
        header = ["network", "training form", "onnxsim", "onnxoptimizer", "its library's own", "ours"]
        return rows(header + (["ours / best other", "control: that file / itself"] if key == "median_ms" else []), body)
    return table


def collapse_errors():
    body = [[r["model"], *(f"{r['forms'][form]['difference']:.1e}" if form in r["forms"] else "–"
                           for form in COLLAPSE_FORMS[1:]),
             f"{r['max_rel_error']:.1e}" if "max_rel_error" in r else "not verified", f"{r['collapse_s']:.1f}"]
            for r in collapse_results()]
    return rows(["network", "onnxsim", "onnxoptimizer", "its library's own", "ours", "ours, by the certificate",
                 "collapse, s"], body)


def collapse_scale():
    record = json.loads((RESULTS / "collapse_scale.json").read_text())
    body = [[r["model"], f"{r['params_before'] / 1e6:.1f}", r["cores"], f"{r['load_s']:.2f}", f"{r['collapse_s']:.2f}",
             f"{r['regions_s']:.2f} ({r['regions']:.0f})", f"**{r['merge_and_certify_s']:.2f}**", f"{r['save_s']:.2f}",
             f"{r['samples_s']:.2f}", f"{r['peak_bytes'] / 1e6:.0f}", f"**{r['peak_to_weights']:.2f}**"]
            for r in record["models"]]
    return rows(["network", "M parameters", "cores", "load, s", "merge, s", "certify its regions, s",
                 "both", "save, s", "run the whole network twice on one sample, s", "peak, MB", "peak / weights"], body)


def collapse_search():
    record = json.loads((RESULTS / "collapse_scale.json").read_text())["search"]
    return rows(["nodes before", "nodes after", "every rule, ms", "with a plan, ms",
                 "every rule where nothing merges any more, ms"],
                [[record["nodes_before"], record["nodes_after"], f"{record['module_ms']:.1f}",
                  f"{record['plan_ms']:.1f}", f"{record['nothing_ms']:.1f}"]])


def collapse_strips():
    record = json.loads((RESULTS / "collapse_strips.json").read_text())
    body = [["{} → {} → {}, {}², stride {}".format(*r["shape"]), r["nodes_after"], f"{r['macs']:.2f}",
             milliseconds(r["whole_ms"]), f"**{r['latency']:.2f}**"] for r in record["pairs"]]
    return rows(["two 3×3 convolutions", "nodes after", "MACs after / before", "ONNX Runtime before, ms",
                 "latency after / before"], body)


NETWORKS = {
    "deploy29": "29-layer CIFAR deploy net (`reduce56` collapsed)",
    "deploy11": "11-layer CIFAR deploy net (`reduce20` collapsed)",
    "repvgg_a0": "RepVGG-A0 deploy, 224²",
    "repvgg_b0": "RepVGG-B0 deploy, 224²",
    "vanillanet6": "VanillaNet-6 deploy, 224²",
    "mobileone_s0": "MobileOne-S0 deploy, 224²",
    "resnet18": "ResNet-18, 224²",
    "affine": "one affine layer, 3,072 to 10",
    "nothing": "one ReLU of one number: what a call costs",
}
ENGINES = ["reducenet", "onnxruntime", "openvino", "ncnn", "pytorch"]


def inference(stem):
    def table():
        record = json.loads((RESULTS / f"inference/{stem}.json").read_text())
        alone = {"reducenet@1": "ours, one thread / two", "onnxruntime@1": "ONNX Runtime, the same"}
        alone = alone if record["threads"] > 1 else {}
        body = []
        for name, label in NETWORKS.items():
            if name not in record["networks"]:
                continue
            engines = record["networks"][name]["engines"]
            cells = [milliseconds(engines[e]["median_ms"]) if e in engines else "–" for e in ENGINES]
            peers = {e: engines[e]["ratio_to_ours"] for e in ENGINES[1:] if e in engines}
            best = min(peers, key=peers.get)
            gains = [engines[e]["ratio_to_ours"] / engines[e[:-2]]["ratio_to_ours"] for e in alone]
            body.append([label, *cells, f"{peers['onnxruntime']:.2f}" if "onnxruntime" in peers else "–",
                         f"**{peers[best]:.2f}** ({best})", *(f"{gain:.2f}" for gain in gains)])
        return rows(["network, ms a run", "ours", "ONNX Runtime", "OpenVINO", "ncnn", "PyTorch", "ONNX Runtime / ours",
                     "best peer / ours", *alone.values()], body)
    return table


def layers():
    lines = (RESULTS / "inference/layers.jsonl").read_text().splitlines()
    best = {}
    for line in map(json.loads, lines):
        if "layer" in line and line["us"] < best.get(line["layer"], {"us": float("inf")})["us"]:
            best[line["layer"]] = line
    body = [[f"`{name}`", r["kernel"], f"{r['us']:.1f}", f"{r['gflops']:.0f}", f"{100 * r['share_of_peak']:.0f} %",
             f"{r['error']:.0e}" if "error" in r else "–"] for name, r in best.items()]
    return rows(["layer", "fastest kernel", "µs", "direct-equivalent GFLOP/s", "share of FMA peak", "error"], body)


def chain():
    networks = json.loads((RESULTS / "inference/chain-threads1.json").read_text())["networks"]
    lines = [("training net, ONNX Runtime", "reduce56", "onnxruntime"), ("training net, ours", "reduce56", "reducenet"),
             ("collapsed, ONNX Runtime", "deploy29", "onnxruntime"), ("collapsed, ours", "deploy29", "reducenet")]
    found = []
    for _, name, engine in lines:
        r = networks[name]["engines"][engine]
        found.append((r["median_ms"], r["process_bytes"] / 1e6, (r["process_bytes"] - r["idle_bytes"]) / 1e6,
                      networks[name]["file_bytes"] / 1e3))
    body = [[label, milliseconds(ms), f"{whole:.1f}", f"{more:.1f}", f"{file:.0f}"]
            for (label, *_), (ms, whole, more, file) in zip(lines, found)]
    body.append(["first / last", *(f"**{a / b:.2f}**" for a, b in zip(found[0], found[-1]))])
    return rows(["", "ms", "process, MB", "of that, by engine and model, MB", "file, kB"], body)


def branch_speed():
    path = RESULTS / "train_speed/branches/threads1.json"
    if not path.exists():
        return "Not run yet."
    r = json.loads(path.read_text())
    base = r["forms"]["none"]
    body = [[f["label"], f"{f['images_per_s']:.0f}", f"{base['images_per_s'] / f['images_per_s']:.2f}",
             f"{f['peak_mib']:.0f}", f"{f['peak_mib'] - r['idle_mib']:.0f}"] for f in r["forms"].values()]
    return rows(["branches of `plain11`", "images/s", "time, relative", "peak memory, MiB", "of it, more than at batch 1, MiB"], body)


def number_formats(name):
    return json.loads((RESULTS / f"number-formats/{name}.json").read_text())


STACKS = {
    "mobileone_s0": "MobileOne-S0, 224²",
    "affine-2048": "affine 2048 → 2048 → 1000",
    "3x3-64x56": "four 3×3, 64 channels, 56²",
    "3x3-128x28": "four 3×3, 128 channels, 28²",
    "3x3-256x14": "four 3×3, 256 channels, 14²",
    "3x3-512x7": "four 3×3, 512 channels, 7²",
    "1x1-64x56": "four 1×1, 64 channels, 56²",
    "1x1-256x14": "four 1×1, 256 channels, 14²",
    "3x3-groups-of-16-128x28": "four 3×3 in groups of 16, 128 channels, 28²",
    "depthwise3-64x56": "four depthwise 3×3, 64 channels, 56²",
    "depthwise7-256x14": "four depthwise 7×7, 256 channels, 14²",
}


def narrow_speed():
    body = []
    results = number_formats("speed")
    for name in [n for n in results if n not in STACKS] + [n for n in STACKS if n in results]:
        r = results[name]
        direct, f32, int8, bf16 = (r[f"{key}_ms"] for key in ("direct_f32", "f32", "int8", "bf16"))
        body.append([STACKS.get(name, f"`{name}`"), milliseconds(direct), milliseconds(f32),
                     milliseconds(r["bf16_everywhere_ms"]), f"{milliseconds(bf16)} ({r['bf16_layers']})",
                     milliseconds(r["int8_everywhere_ms"]), f"{milliseconds(int8)} ({r['int8_layers']})",
                     f"{direct / int8:.2f}", f"{f32 / int8:.2f}", f"{f32 / bf16:.2f}"])
    return rows(["network", "direct f32", "best f32", "all bf16", "bf16 plan (layers)", "all int8", "int8 plan (layers)",
                 "direct / int8", "best / int8", "best / bf16"], body)


def narrow_accuracy():
    body = []
    for name, r in number_formats("accuracy").items():
        cells = [f"{100 * r[key]:.2f}" for key in ("top1_f32", "top1_bf16", "top1_int8_plain", "top1_int8")]
        body.append([f"`{name}`", *cells, f"{r['file_bytes_f32'] / 1024:.0f}", f"{r['bytes'] / 1024:.0f}"])
    return rows(["network", "float32, %", "bf16, %", "int8, %", "int8 equalised, %", "float32 weights, KiB",
                 "int8 ONNX file, KiB"], body)


STAGES = {"top1_cut": "as cut", "top1_bn": "statistics again", "top1_finetuned": "fine-tuned"}


def pruning(name):
    path = RESULTS / f"pruning/{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def points(share):
    return f"{100 * share:.2f}"


def pruning_criteria():
    record = pruning("channels-plain11")
    if record is None:
        return "Not run yet."
    body = []
    for c in record["criteria"]:
        for key, label in STAGES.items():
            if key not in c:
                continue
            s = c[key]
            search = c["score_seconds"] + c["search_seconds"]
            body.append([f"`{c['criterion']}`", label, points(s["first"]), points(s["max"]), points(s["mean"]),
                         points(s["min"]), f"{100 * s['yield']:.0f} %", f"{search / c['samples']:.4f}",
                         milliseconds(c["median_ms"])])
    whole, best = record["whole"], record["best"]
    body.append(["whole network", "", points(whole["top1"]), "", "", "", "", "", milliseconds(whole["ms"])])
    table = rows(["criterion", "stage", "its first, %", "best, %", "mean, %", "worst, %", "yield", "search, s each", "ms"],
                 body)
    return (f"{table}\n\nBest of all: `{best['name']}`, {points(best['held_out_top1'])} % on held-out images, "
            f"{points(best['test_top1'])} % on {best['test_images']:,} test images. {record['machine']}, "
            f"commit {record['commit']}.")


def pruning_commands():
    body = []
    for path in sorted((RESULTS / "pruning").glob("*.json")):
        record = json.loads(path.read_text())
        body.append([f"`{path.stem}`", f"`{record['trained']}`", f"`{record['command']}`", record["commit"]])
    return rows(["figures", "trained by", "measured by", "commit"], body)


def pruning_robust():
    body = []
    for cut, what in (("blocks", "residual blocks"), ("channels", "channels, every layer alike")):
        for net, label in (("plain", "trained plainly"), ("dropped", "stochastic depth")):
            record = pruning(f"{cut}-{net}")
            if record is None:
                continue
            c = record["criteria"][0]
            whole = record["whole"]["top1"]
            for key in ("top1_cut", "top1_bn"):
                s = c[key]
                body.append([what, label, points(whole), STAGES[key], points(s["max"]), points(s["mean"]), points(s["min"]),
                             points(whole - s["mean"]), f"{100 * s['yield']:.0f} %"])
    return rows(["what goes", "network", "whole, %", "stage", "best, %", "mean, %", "worst, %", "mean loss, points", "yield"],
                body)


def pruning_rmnet():
    body = []
    for name, label in (("rmnet-reserved", "`--reserve`, nothing cut"), ("rmnet-cut", "`--reserve`, then cut"),
                        ("resnet-cut", "control: the ResNet, cut")):
        r = pruning(name)
        if r is None:
            continue
        cells = [points(r[k]) if k in r else "–" for k in ("top1_before", "top1", "top1_bn", "top1_finetuned")]
        body.append([label, f"{r['macs_before'] / 1e6:.2f} → {r['macs_after'] / 1e6:.2f}", *cells,
                     f"{r['max_rel_error']:.1e}"])
    return rows(["network", "M MACs", "before, %", "as cut, %", "statistics again, %", "1 epoch later, %",
                 "relative error of the cut (or merge)"], body)


def header():
    body = [[r["network"].replace("_int8", ", int8"), r["compiler"], milliseconds(r["header_ms"]), milliseconds(r["runtime_ms"]),
             f"{r['ratio']:.2f}", f"{r['compile_cpu_s']:.2f}", f"{r['compile_cpu_s_per_million']:.1f}"]
            for r in json.loads((RESULTS / "header/speed.json").read_text())["headers"]]
    return rows(["network", "compiler", "header, ms", "runtime, ms", "header / runtime", "compile, CPU s", "per million parameters"],
                body)


EXPORT_STEPS = {"runtime": "runs", "collapsed": "collapsed", "trained": "trained"}


def exported_rows():
    return [row for row in json.loads((RESULTS / "exports.json").read_text())["rows"] if "not exported" not in row]


def exports():
    body = []
    for exporter in ("TorchScript", "dynamo"):
        of = [row for row in exported_rows() if row["exporter"] == exporter]
        done = {step: [row[step] for row in of if "refused" not in row[step]] for step in EXPORT_STEPS}
        body.append([exporter, len(of), len(done["runtime"]), f"{max(row['distance'] for row in done['runtime']):.1e}",
                     sum(row["verified"] for row in done["collapsed"]), len(done["trained"])])
    return rows(["exporter", "networks exported", "run", "largest distance to ONNX Runtime, of the largest answer",
                 "collapsed and certified", "trained"], body)


def packaged():
    """One row a model."""
    body = []
    for row in json.loads((RESULTS / "packaged.json").read_text())["rows"]:
        off = " / ".join(f"{row[step]['distance']:.1e} ({row[step]['absolute']:.1e})" for step in ("runtime", "collapsed_runtime"))
        nodes = " / ".join(f"{row[step]['nodes_before']} → {row[step]['nodes_after']}" for step in ("as_shipped", "collapsed"))
        body.append([row["what"], f"`{row['package']}`", "x".join(map(str, row["size"])), nodes,
                     "yes" if row["as_shipped"]["verified"] and row["collapsed"]["verified"] else "no", off])
    return rows(["network", "package", "size", "nodes, as shipped / as exported", "certified",
                 "from ONNX Runtime, of the largest answer (in numbers), before / after the collapse"], body)


def signals():
    """One row a network and exporter."""
    body = []
    for row in json.loads((RESULTS / "signals.json").read_text())["rows"]:
        body.append([row["network"], "x".join(map(str, row["shape"])), row["exporter"], f"{row['nodes_before']} → {row['nodes_after']}",
                     "yes" if row["verified"] else "no", f"{row['distance']:.1e}", f"{row['ms']:.2f}", f"{row['onnxruntime_ms']:.2f}",
                     f"**{row['ms'] / row['onnxruntime_ms']:.2f}**"])
    return rows(["network", "signal", "exporter", "nodes", "certified", "from ONNX Runtime, of the largest answer", "ms",
                 "ONNX Runtime, ms", "ratio"], body)


def speed():
    """One row a network of torchvision, three columns a machine."""
    sets = {"AMD EPYC": "amd-epyc", "Intel Xeon": "intel-xeon"}
    found = {name: json.loads((RESULTS / f"speed/{file}.json").read_text())["rows"] for name, file in sets.items()}
    body = []
    for of_network in zip(*found.values(), strict=True):
        assert len({row["network"] for row in of_network}) == 1
        body.append([of_network[0]["network"]])
        for row in of_network:
            body[-1] += [f"{row['ms']:.2f}", f"{row['onnxruntime_ms']:.2f}", f"**{row['onnxruntime_ms'] / row['ms']:.2f}**"]
    return rows(["network, ms a run", *(column for name in sets for column in (f"{name}: ours", "ONNX Runtime", "its time / ours"))], body)


def conformance():
    """One row a kind of case."""
    found = json.loads((RESULTS / "conformance.json").read_text())["rows"]
    body = []
    for kind in dict.fromkeys(row["kind"] for row in found):
        of = [row for row in found if row["kind"] == kind]
        counts = [sum(row[step].startswith(outcome) for row in of) for step, outcome in
                  (("runs", "right"), ("runs", "refused"), ("runs", "WRONG"), ("collapses", "right"), ("collapses", "not run"),
                   ("collapses", "refused"), ("collapses", "WRONG"))]
        body.append([kind, len(of), *counts])
    return rows(["cases", "number", "run: right", "refused by name", "wrong", "collapsed: right", "ONNX Runtime has no such operator",
                 "not certified, nothing written", "wrong"], body)


def exports_refused():
    return rows(["network", "exporter", "step", "why not"],
                [[row["network"], row["exporter"], name, row[step]["refused"]] for row in exported_rows()
                 for step, name in EXPORT_STEPS.items() if "refused" in row[step]])


TABLES = {
    "exports": exports,
    "exports-refused": exports_refused,
    "packaged": packaged,
    "signals": signals,
    "speed": speed,
    "conformance": conformance,
    "header": header,
    "narrow-speed": narrow_speed,
    "narrow-accuracy": narrow_accuracy,
    "pruning-criteria": pruning_criteria,
    "pruning-commands": pruning_commands,
    "pruning-robust": pruning_robust,
    "pruning-rmnet": pruning_rmnet,
    **{f"systems-{group}": systems(group) for group in SYSTEMS},
    "branch-speed": branch_speed,
    "inference-chain": chain,
    "inference-1": inference("batch1-threads1"),
    "inference-1-2": inference("batch1-threads2"),
    "inference-32": inference("batch32-threads1"),
    "inference-32-2": inference("batch32-threads2"),
    "inference-layers": layers,
    "collapse-nodes": collapse("nodes", 1, 0),
    "collapse-macs": collapse("macs", 1e6, 1),
    "collapse-latency": collapse("median_ms", 1, 2),
    "collapse-errors": collapse_errors,
    "collapse-scale": collapse_scale,
    "collapse-strips": collapse_strips,
    "collapse-search": collapse_search,
    "train-speed": train_speed,
    "train-accuracy": time_to_accuracy,
    "linear": experiments("foundation", ["article20", "article20-flatten", "article20-linear", "article20-linear-flatten",
                          "softmax-phases", "softmax-pixels"]),
    "reduce": experiments("foundation", ["reduce20", "plain11", "plain11-branches", "resnet11-article"]),
    "fading": experiments("fading"),
    "full": experiments("full", epochs=None),
    "imported": ingredients("imported", "resnet20"),
    "fading-tiny": ingredients("fading-tiny", "plain11"),
    "selectors-narrow": ingredients("selectors-narrow", "sensitivity"),
    "gains": gains,
    "deep-first": ingredients("deep-first", "plain11-lr0.8-taught", "^(?!wider).*(?<!-1[02]-epochs)$"),
    "deep-first-10": ingredients("deep-first", "plain11-lr1.6-taught-10-epochs", "-taught-1[02]-epochs$"),
    "deep-first-10-untaught": ingredients("deep-first", "plain11-lr1.6-10-epochs", "(?<!-taught)-10-epochs$"),
    "deep-first-wider": ingredients("deep-first", "wider-plain11-lr0.8-taught", "^wider"),
    "short-tiny": ingredients("short-tiny", "plain11-lr1.6", "^(?!.*-10$)"),
    "short-tiny-10": experiments("short-tiny", ["faded1-lr0.8-10", "faded1-lr1.6-10", "faded2-lr1.6-10"]),
    "deep": experiments("deep"),
    "deep-tiny": ingredients("deep-tiny", "plain29-lr0.4"),
    "resnets": beside("resnets", RESNETS),
    "resnets-in-brief": beside("resnets", RESNETS, BESIDE_RESNETS),
    "resnets-narrow": beside("resnets-narrow", ["resnet20-lr0.2", *RESNETS[1:]]),
    "shallow": beside("shallow", ["ten-uniform-k3-never-lr0.8", "ten-uniform-k3-never-identity", "plain-five"]),
    "short": ingredients("short", "plain-lr0.4"),
    "squeeze-narrow": squeeze("squeeze-narrow"),
    "fan11": frontier("fan11"),
    "fan11-narrow": frontier("fan11-narrow"),
    "fan29": frontier("fan29"),
    "fan29-narrow": frontier("fan29-narrow"),
    "worth-fan11": worth("fan11"),
    "worth-fan29-narrow": worth("fan29-narrow"),
    "frontier11-narrow": frontier("frontier11-narrow"),
    "frontier29-narrow": frontier("frontier29-narrow"),
    "fading-narrow": ingredients("fading-narrow", "plain11-20-epochs", "20-epochs"),
    "one-survivor": experiments("one-survivor", ["one-survivor-taught", "one-survivor", "none", "single-layer", "single-layer-taught",
                                                 "single-layer-plain", "single-layer-linear", "patch-grid", "patch-grid-1600",
                                                 "patch-grid-1600-unmirrored", "patch-grid-linear"], epochs=None),
    "fading-narrow-10": experiments("fading-narrow", ["reduce20-never", "reduce20-early", "reduce20-expansion4-merged"]),
}


def render(text):
    def fill(match):
        name = match.group(1)
        if name not in TABLES:
            raise SystemExit(f"no table is named '{name}'; known: {', '.join(TABLES)}")
        return f"<!-- table {name} -->\n{TABLES[name]()}\n<!-- end -->"
    return re.sub(r"<!-- table ([\w-]+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


def main():
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        before = path.read_text()
        after = render(before)
        if after != before:
            stale.append(path.relative_to(ROOT))
            if "--check" not in sys.argv:
                path.write_text(after)
    for path in stale:
        print(f"{path}: {'out of date' if '--check' in sys.argv else 'rewritten'}")
    sys.exit(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
