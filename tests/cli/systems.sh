#!/bin/sh
# systems.sh REDUCENET RECIPES: every system of docs/systems.md, small, from the command line: train, collapse, verify,
# export. Its mechanism engaged: what was to vanish is gone, and no more than that.
set -u
tool=$1
recipes=$2
. "$(dirname "$(readlink -f "$0")")/check.sh"

# system NAME HOLDS SETTING…: recipe NAME on generated images of 16x16; HOLDS is a jq filter that is true of what its collapse prints.
system() {
  name=$1 holds=$2
  shift 2
  settings="--set data.path=generated:160 --set data.validation=32 --set model.widths=[4,8] --set model.height=16
    --set model.width=16 --set optimizer.batch=16 --set train.threads=1 --set train.batch_norm_batches=2"
  for setting; do settings="$settings --set $setting"; done
  rm -rf "$name"
  # shellcheck disable=SC2086
  json '.top1 >= 0' train "$recipes/cifar10-$name.toml" $settings --out "$name"
  json ".verified and ($holds)" collapse "$name/model.safetensors" -o "$name/deployed.safetensors"
  json '.verified' verify "$name/model.safetensors" "$name/deployed.safetensors"
  run export "$name/deployed.safetensors" -o "$name/deployed.onnx"
  [ $code -eq 0 ] || fail "exit $code, not 0"
  json '.verified' verify "$name/deployed.safetensors" "$name/deployed.onnx"
}

# Modules of 4 and 8 channels; stem and FC stay.
system vanillanet '.nonlinear_before == .nonlinear_after and .macs_after < .macs_before' model.arch=vanillanet-cifar train.epochs=2 \
  model.modules=2
system branches '.nonlinear_after == 3 and .macs_after < .macs_before' model.arch=plain model.modules=1 train.epochs=1
system orepa '.nonlinear_after == 3 and .nodes_after < 12' model.arch=plain model.modules=1 train.epochs=1
system gen2 '.nonlinear_after == 3' model.arch=gen2 model.modules=1 train.epochs=2
system gen3 '.nonlinear_after == 7' model.arch=gen3 model.modules=1 train.epochs=1
system gen3-faded '.nonlinear_after == 5' model.arch=gen3 model.modules=1 train.epochs=4
# shellcheck disable=SC2086
system gen3-student '.nonlinear_after == 5' model.arch=gen3 model.modules=1 train.epochs=1 distill.teacher=gen3/model.safetensors
system vgg '.nonlinear_after == 4' model.arch=vgg model.modules=2 train.epochs=2
system resnet '.nonlinear_after == 3' model.arch=resnet model.modules=1 train.epochs=2
system resnet-bottleneck '.nonlinear_after == 3' model.arch=resnet-bottleneck model.modules=1 train.epochs=2
system mobilenetv2 '.nonlinear_after == 2' model.modules=1 train.epochs=2
system depthshrinker '.nonlinear_before == 3 and .nonlinear_after == 3' train.epochs=4 finetune.epochs=1 select.count=3 select.steps=8 distill.teacher=self \
  select.images=32
system densenet '.nonlinear_after == 3' model.modules=2 train.epochs=3 select.count=3 select.images=32
system convnext '.nonlinear_after == 2' model.modules=2 train.epochs=3 select.count=2 select.images=32
system block-fade '.nonlinear_after == 3' model.arch=resnet model.modules=2 train.epochs=3
system stochastic-depth '.nonlinear_after == 9 and .nodes_after < .nodes_before' model.arch=resnet model.modules=2 train.epochs=1
system condconv '.nonlinear_after == 3 and .macs_after < .macs_before' model.arch=condconv model.modules=1 train.epochs=3
system detachnet '.nonlinear_after == 3 and .nodes_after < .nodes_before' model.arch=detachnet model.modules=1 train.epochs=3
system detachnet '.nonlinear_after == 3 and .macs_after < .macs_before' model.arch=detachnet model.modules=1 train.epochs=3 model.supplies=convolve

system skipnet '.nonlinear_after > 5' model.arch=skipnet model.modules=2 train.epochs=2
grep -q then_branch skipnet/deployed.onnx || fail 'no If in skipnet/deployed.onnx'
system skipnet '.nonlinear_after > 5' model.arch=skipnet model.modules=2 train.epochs=2 gate.by=policy
system skipnet '.nonlinear_after > 5 and .macs_after < .macs_before + 1' model.arch=skipnet model.modules=2 train.epochs=3 model.fades=skipped \
  select.by=usage select.count=1 select.images=32 gate.weight=1 distill.teacher=self distill.hints=1

# A BatchNorm that merges into nothing is a layer of its own in 8 bits, too.
json 'any(.nodes[]; .op | startswith("BatchNormalization"))' inspect densenet/deployed.safetensors
json '.top1_int8 >= 0' export densenet/deployed.safetensors -o densenet/int8.onnx --dtype int8 --data generated:160

# The dynamic forms run and are exported too.
system condconv '.nonlinear_after > 3' model.arch=condconv model.modules=1 train.epochs=1 model.fades=[]
json '.n == 32' eval condconv/deployed.onnx --data generated:160
system detachnet '.nonlinear_after > 3' model.arch=detachnet model.modules=1 train.epochs=1 model.fades=[]
json '.n == 32' eval detachnet/deployed.onnx --data generated:160

echo "$tests commands, $failures failures"
[ $failures -eq 0 ]
