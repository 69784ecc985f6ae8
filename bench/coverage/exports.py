#!/usr/bin/env python3
"""What ReduceNet does with networks as PyTorch exports them: one row a network of timm and an exporter.

    python3 bench/coverage/exports.py --json docs/results/exports.json [--networks resnet18,…] [--opset 23] [--tool build/reducenet]

Each is exported with random weights and statistics, 64×64 pixels and a batch of one, by the exporter that traces (TorchScript) and
by the one that has been PyTorch's default since 2.9 (dynamo). Then: does the runtime give ONNX Runtime's answers, is it
collapsed and certified, does it train with five survivors on generated images? What is refused says why. Needs torch, timm, onnx,
onnxscript and onnxruntime.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import timm
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import collapsed, compare, draw_statistics, option_parser, report, tool  # noqa: E402

NETWORKS = """resnet18 resnet10t resnext26ts seresnext26ts skresnet18 eca_resnet33ts nf_resnet26 nf_regnet_b0 cspresnet50 densenet121 dla46x_c
hrnet_w18_small vgg11_bn regnetx_002 regnety_002 mobilenetv3_small_050 mobilenetv4_conv_small_035 mnasnet_small efficientnet_lite0
tinynet_e lcnet_035 fbnetc_100 hardcorenas_a ghostnet_050 ghostnetv3_050 repghostnet_050 mobileone_s0 repvgg_a0 repvit_m0_9 gernet_s
starnet_s1 fasternet_t0 shvit_s1 efficientvit_b0 convnext_atto inception_next_atto edgenext_xx_small mobilevit_xxs poolformer_s12
rdnet_tiny mambaout_femto levit_128s vit_tiny_patch16_224 deit3_small_patch16_224 pit_ti_224 coat_lite_tiny xcit_nano_12_p16_224
swin_tiny_patch4_window7_224""".split()
SIZED = ("levit", "vit", "deit", "pit", "coat_", "xcit", "swin")  # built for images of one size
PIXELS = 64
RECIPE = """[model]
arch = "import"
[optimizer]
lr = 1e-6
batch = 10
[train]
epochs = 1
threads = 1
batch_norm_batches = 0
[select]
by = "uniform"
count = 5
[fade]
start = 0.0
end = 0.6
"""


def network(name):
    torch.manual_seed(0)
    sized = {"img_size": PIXELS} if name.startswith(SIZED) else {}
    model = timm.create_model(name, num_classes=10, **sized)
    draw_statistics(model, torch.nn.BatchNorm2d)
    return model.eval()


def runtime(options, folder, path):
    return compare(options, folder, path, (1, 3, PIXELS, PIXELS))


def trained(options, folder, path):
    (folder / "recipe.toml").write_text(RECIPE)
    tool(options, "train", folder / "recipe.toml", "--from", path, "--data", "generated:60", "--out", folder / "run",
         "--set", f"model.height={PIXELS}", "--set", f"model.width={PIXELS}")
    return {}


def main():
    parser = option_parser(__doc__, seconds=120)
    parser.add_argument("--networks", type=lambda text: text.split(","), default=NETWORKS)
    parser.add_argument("--opset", type=int, help="operator set of dynamo's exports (default: its own)")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    result = report("exports", pixels=PIXELS, torch=torch.__version__, timm=timm.__version__)
    rows = result["rows"]
    for name in options.networks:
        for exporter in ("TorchScript", "dynamo"):
            row = {"network": name, "exporter": exporter}
            rows.append(row)
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                path = folder / f"{name}.onnx"
                try:
                    torch.onnx.export(network(name), (torch.randn(1, 3, PIXELS, PIXELS),), str(path), verbose=False,
                                      dynamo=exporter == "dynamo",
                                      opset_version=options.opset if exporter == "dynamo" else 17)
                except Exception as error:  # PyTorch's, not ours
                    row["not exported"] = (str(error) or type(error).__name__).splitlines()[0]
                    continue
                for step in (runtime, collapsed, trained):
                    try:
                        row[step.__name__] = step(options, folder, path)
                    except (RuntimeError, subprocess.TimeoutExpired) as error:
                        row[step.__name__] = {"refused": str(error).replace(str(folder) + "/", "")}
            print(json.dumps(row), file=sys.stderr, flush=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
