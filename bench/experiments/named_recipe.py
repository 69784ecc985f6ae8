"""A verb on recipes/cifar10-NAME.toml with its folder in runs/NAME: what frontier.py and squeeze.py share."""
import argparse
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from origin import ROOT  # noqa: E402


def parser_for(doc):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a recipe, recipes/cifar10-NAME.toml")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--tool", type=pathlib.Path, default=ROOT / "build/reducenet")
    return parser


def run_verb(verb, parser, options, *more):
    """Recipe, folder and exit code."""
    recipe, out = ROOT / f"recipes/cifar10-{options.name}.toml", ROOT / "runs" / options.name
    if not recipe.exists():
        parser.error(f"there is no {recipe.relative_to(ROOT)}")
    command = [options.tool.resolve(), verb, recipe.relative_to(ROOT), "--data", options.data.resolve(), "--out", out, *more]
    return recipe, out, subprocess.run(command, cwd=ROOT).returncode
