"""The tables of training runs: grids of bench/experiments, one JSON a cell and seed under docs/results."""
import itertools
import json
import re
import statistics
import sys

from gains_rows import GAINS
from systems_rows import SYSTEMS
from tables import RESULTS, ROOT, milliseconds, rows, spread

sys.path.insert(0, str(ROOT / "bench/experiments"))
from run import grid_cells  # noqa: E402

LABELS = {
    "article20": "`article20`: every activation fades, average pool + FC",
    "article20-flatten": "`article20`, flatten + FC",
    "article20-linear": "the same net, linear from step 0, average pool + FC",
    "article20-linear-flatten": "the same net, linear from step 0, flatten + FC",
    "softmax-phases": "softmax regression on the 4×4×3 phase means",
    "softmax-pixels": "softmax regression on all 3,072 pixels",
    "reduce20": "`reduce20`: trained deep (20 layers), deployed as 11",
    "plain11": "`plain11`: the deployed network, trained directly",
    "plain11-branches": "`plain11` with linear branches (1×1, identity) and no fade",
    "resnet11-article": "`resnet11-article`: each 3×3 conv + ReLU + residual",
}


def load(grid):
    """{cell: [result, …] by seed}: those of LABELS in its order, the others by name."""
    cells = {}
    for path in sorted((RESULTS / grid).glob("*.json")):
        result = json.loads(path.read_text())
        cells.setdefault(result["cell"], []).append(result)
    return {name: cells[name] for name in [*LABELS, *sorted(set(cells) - set(LABELS))] if name in cells}


def declared(grid):
    """The same, of the cells that the grid declares, in its order."""
    cells = load(grid)
    return {name: cells[name] for name in grid_cells(grid) if name in cells}


def any_seed(result):
    """Its command, with S for the seed."""
    return f"`{result['command'].replace('train.seed=' + str(result['seed']), 'train.seed=S')}`"


def by_seed(results):
    """{seed: deployed top-1, %}"""
    return {r["seed"]: 100 * r["deployed_top1"] for r in results}


def paired(above, below):
    """Differences between two cells at the seeds that both have."""
    return [value - below[seed] for seed, value in above.items() if seed in below]


def processor(result):
    """What it was trained on, in a word or two: Xeon, EPYC family 26."""
    name, *more = result["machine"].split(", ")
    generation = re.match(r"family \d+", more[0])
    word = re.sub(r"\(R\)| Processor", "", name).split()[-1]
    return f"{word} {generation[0]}" if generation else word


def by_processor(results, table, value, text):
    """Median of value(result) in words, by processor where the table's results are of several."""
    values = {}
    for r in results:
        values.setdefault(processor(r), []).append(value(r))
    several = len({processor(r) for r in table}) > 1
    return ", ".join(text(statistics.median(of)) + (f" ({name})" if several else "") for name, of in values.items())


def minutes(results, table):
    """Median time of training."""
    return by_processor(results, table, lambda r: r["train"]["seconds"] / 60, "{:.1f}".format)


def max_abs_error(results):
    return f"{max(r['collapse']['max_abs_error'] for r in results):.1e}"


def ingredients(grid, control, having=""):
    """One row a cell of docs/results/GRID that has results and whose name has that pattern, beside the same seeds of its control."""
    def table():
        cells = declared(grid)
        against = by_seed(cells.get(control, []))
        body, shown = [], {name: results for name, results in cells.items() if re.search(having, name)}
        for name, results in shown.items():
            top1 = by_seed(results)
            differences = paired(top1, against)
            body.append([
                f"`{name}`",
                spread([*top1.values()]),
                len(results),
                f"{statistics.mean(differences):+.2f}" if differences and name != control else "",
                minutes(results, itertools.chain(*shown.values())),
                max_abs_error(results),
                any_seed(results[-1]),
            ])
        return rows(["cell", "deployed top-1, %", "seeds", f"against `{control}`, the same seeds", "training, min",
                     "max abs error of the collapse", "command"], body)
    return table


def experiments(grid, names=None, epochs=10):
    """One row a cell of docs/results/GRID that has results: those named, or all."""
    def table():
        cells = load(grid)
        body = []
        for name in names or cells:
            results = cells.get(name)
            if not results:
                continue
            last = results[-1]
            body.append([
                LABELS.get(name, f"`{name}`"),
                spread([*by_seed(results).values()]),
                len(results),
                last["collapse"]["nodes_after"],
                f"{last['collapse']['macs_after'] / 1e6:.2f}",
                last["collapse"]["nonlinear_after"],
                max_abs_error(results),
                any_seed(last),
            ])
        return rows([f"network ({epochs} epochs each)" if epochs else "network", "deployed top-1, %", "seeds", "nodes", "M MACs", "non-linear nodes",
                     "max abs error of the collapse", "command"], body)
    return table


# One-sided 95 % quantiles of Student's t, by degrees of freedom.
STUDENT = {1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015}


def lower_bound(differences):
    """Of the mean of paired differences, at 95 %."""
    n = len(differences)
    return statistics.mean(differences) - STUDENT[n - 1] * statistics.stdev(differences) / n**0.5


def bound(differences):
    """It, in brackets, where there are several."""
    return f" (≥ {lower_bound(differences):+.2f})" if len(differences) > 1 else ""


def how_far(above, below):
    """How far one cell is above another at the seeds that both have, and how many of its own these are if not all; empty for none."""
    differences = paired(above, below)
    if not differences:
        return ""
    seeds = f"; {len(differences)} of {len(above)} seeds" if len(differences) < len(above) else ""
    return f"{statistics.mean(differences):+.2f}{bound(differences)}{seeds}"


def beside(grid, against, labels=None):
    """Every network of the grid, or those that have a label, and how far each is above those `against`; labelled: in brief."""
    def table():
        cells = declared(grid)
        called = labels or {name: f"`{name}`" for name in cells}
        shown = {name: cells[name] for name in called if name in cells}
        body = []
        for name, results in shown.items():
            last, top1 = results[-1], by_seed(results)
            above = [how_far(top1, by_seed(cells[other])) if name not in against else "" for other in against]
            details = [f"{last['collapse']['macs_after'] / 1e6:.2f}", last["collapse"]["nonlinear_after"], any_seed(last)]
            body.append([called[name], spread([*top1.values()]), len(results), deployed_ms(f"{grid}/{name}"), *above,
                         minutes(results, itertools.chain(*shown.values())), *([] if labels else details)])
        return rows(["network", "top-1, %", "seeds", "ms", *(f"above {called[other]}" for other in against), "training, min",
                     *([] if labels else ["M MACs", "non-linear nodes", "command"])], body)
    return table


def cell_results(cell):
    """Of GRID/NAME, by seed; of a grid or of a frontier."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{cell}-s[0-9].json"))]


def gains():
    """One row a line of GAINS: the faded cell beside the control that is best at its seeds, of those that have most of them."""
    body = []
    for what, epochs, faded, controls, section in GAINS:
        above = by_seed(cell_results(faded))
        shared = {}
        for cell in controls:
            top1 = by_seed(cell_results(cell))
            shared[cell] = {seed: top1[seed] for seed in above if seed in top1}
        best = max((cell for cell in controls if shared[cell]), key=lambda c: (len(shared[c]), statistics.mean(shared[c].values())))
        differences = paired(above, shared[best])
        anchor = re.sub(r"[^a-z0-9-]", "", section.lower().replace(" ", "-"))
        body.append([what, epochs, spread([*above.values()]), spread([*shared[best].values()]),
                     f"**{statistics.mean(differences):+.2f}**{bound(differences)}", len(differences), f"`{faded}`, `{best}`", f"[{section}](#{anchor})"])
    return rows(["what is faded", "epochs", "faded, %", "best control, %", "difference (95 % lower bound)", "seeds", "cells", "section"], body)


def squeeze(name):
    """One row a step of docs/results/NAME.json, in the order in which they were tried."""
    def table():
        result = json.loads((RESULTS / f"{name}.json").read_text())
        chosen = result["chosen"]
        body = []
        for p in result["points"]:
            test = spread([100 * top1 for top1 in chosen["deployed_top1"]]) if p["name"] == chosen["name"] else ""
            body.append([p["step"], p["series"].removeprefix("ends "), p["expansion"], f"{p['top1']:.2f}", test, milliseconds(p["ms"]),
                         f"{p['mmacs']:.2f}", f"{p['train_minutes']:.1f}", p["verdict"]])
        return rows(["step", "ends", "expansion", "held-out top-1, %", "test top-1, %", "ms", "M MACs", "training, min", "verdict"], body)
    return table


def worth(name):
    """One row a candidate of the fan docs/results/NAME: what it was worth in each seed's trunk, and in how many seeds it survives."""
    def table():
        seeds, kept = {}, {}  # {seed: {node: importance}}; {survivors: {node: seeds}}
        for path in (RESULTS / name).glob("k*.json"):
            cell = json.loads(path.read_text())
            for candidate in cell.get("selection", {}).get("candidates", []):
                seeds.setdefault(cell["seed"], {})[candidate["node"]] = candidate["importance"]
                count = kept.setdefault(cell["survivors"], {})
                count[candidate["node"]] = count.get(candidate["node"], 0) + candidate["survives"]
        steps = [k for k in sorted(kept, reverse=True) if k]
        body = [[f"`{node}`", *(f"{seeds[seed][node]:+.3f}" for seed in sorted(seeds)), *(kept[k][node] or "" for k in steps)]
                for node in seeds[min(seeds)]]
        return rows(["activation", *(f"seed {seed}" for seed in sorted(seeds)), *(f"of {k}" for k in steps)], body)
    return table


def frontier(name):
    """One row a point of docs/results/NAME: the cells of all seeds, a control at each learning rate; of a step, how far it is above
    the same network from scratch, at the seeds that both have."""
    def table():
        points, failed = {}, []
        for path in sorted((RESULTS / name).glob("*.json")):
            cell = json.loads(path.read_text())
            if "failed" in cell:
                failed.append([f"`{cell['cell']}`", f"failed: {cell['failed']}", *[""] * 8])
                continue
            if cell["kind"] == "trunk":
                continue
            points.setdefault(re.sub(r"-s\d+$", "", cell["cell"]), []).append(cell)
        kinds = ["deep", "step", "direct", "control"]
        body = []
        for point, cells in sorted(points.items(), key=lambda p: (kinds.index(p[1][0]["kind"]), -p[1][0]["nonlinear"], p[0])):
            first = cells[0]
            label = f"`{first['series']}`, learning rate {first['lr']}" if first["kind"] == "control" else f"`{point}`"
            top1 = by_seed(cells)
            body.append([label, spread([*top1.values()]), len(cells), how_far(top1, by_seed(points.get(f"direct-{point}", []))),
                         first["nonlinear"], first["layers"], f"{first['macs'] / 1e6:.2f}",
                         by_processor(cells, itertools.chain(*points.values()), lambda c: c["ms"], milliseconds),
                         first["epochs"], f"{max(c['max_abs_error'] for c in cells):.1e}"])
        return rows(["cell", "deployed top-1, %", "seeds", "above `direct` (95 % lower bound)", "non-linear nodes", "layers", "M MACs",
                     "ms", "epochs in all", "max abs error"], body + failed)
    return table


def systems(group):
    def table():
        body = []
        for cell, label in SYSTEMS[group]:
            path = RESULTS / f"{cell}-s0.json"
            if not path.exists():
                body.append([label, "not run yet", *["–"] * 6])
                continue
            r = json.loads(path.read_text())
            c, ms = r["collapse"], latency(cell)
            body.append([label, f"{100 * r['train']['top1']:.2f} → {100 * r['deployed_top1']:.2f}",
                         f"{c['nodes_before']} → {c['nodes_after']}",
                         f"{c['macs_before'] / 1e6:.2f} → {c['macs_after'] / 1e6:.2f}",
                         f"{c['nonlinear_before']} → {c['nonlinear_after']}",
                         f"{milliseconds(ms['trained_ms'])} → {milliseconds(ms['deployed_ms'])}" if ms else "–",
                         f"{c['max_abs_error']:.1e}" + ("" if c["verified"] else " (refused)"),
                         f"`{r['command'].removesuffix(' --data ' + r['command'].split()[-1])}`"])
        return rows(["network", "top-1, %", "nodes", "M MACs", "non-linear nodes", "ms", "max abs error",
                     "command (and `--data PATH`)"], body)
    return table


def latency(cell):
    """What bench/experiments/latency.py measured of GRID/CELL, None where it has not."""
    grid, name = cell.split("/")
    path = RESULTS / f"{grid}_latency.json"
    return json.loads(path.read_text())["cells"].get(f"{name}-s0") if path.exists() else None


def deployed_ms(cell):
    """Of it, what the collapsed network takes; a dash where it has not."""
    ms = latency(cell)
    return milliseconds(ms["deployed_ms"]) if ms else "–"
