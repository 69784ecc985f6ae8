#!/usr/bin/env python3
"""Runs a squeeze and keeps its steps as one small JSON file.

    bench/experiments/squeeze.py squeeze-narrow --data PATH

`reducenet squeeze recipes/cifar10-NAME.toml` with its folder in runs/NAME (run again, it goes on where it was); what it wrote
is then copied, with commit and machine, to docs/results/NAME.json. `docs/render.py` makes the table.
"""
import json
import sys

from named_recipe import parser_for, run_verb
from origin import ROOT, commit, cpu_model


def main():
    parser = parser_for(__doc__)
    options, began = parser.parse_args(), commit()
    recipe, out, code = run_verb("squeeze", parser, options)
    if code == 0:
        result = json.loads((out / "squeeze.json").read_text())
        result.update(recipe=recipe.read_text(), command=f"bench/experiments/squeeze.py {options.name} --data PATH", commit=began,
                      machine=cpu_model())
        (ROOT / f"docs/results/{options.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
