#!/bin/sh
# prune.sh REDUCENET FIXTURES: pruning from the command line: one cut, many sub-networks, RMNet, and every bad input.
set -u
tool=$1
. "$(dirname "$(readlink -f "$0")")/check.sh"
"$2" . || exit 1
echo 'not a model' >text.onnx
make_dot
"$tool" collapse article.safetensors -o single.onnx --to single >/dev/null || exit 1
present() { for file; do [ -s "$file" ] || fail "$file is missing"; done; }
trains() { [ -x "$(dirname "$tool")/reducenet-train" ]; }

# One cut: exact, smaller, and what comes out goes on through every other verb.
json '.verified and .macs_after <= 0.5 * .macs_before and .units_after < .units_before and .params_after < .params_before and .collapsed.verified and (.families | length) > 0' \
  prune reduce.safetensors -o cut.safetensors
json '.verified and .macs_after <= 0.5 * .macs_before' prune reduce.onnx -o cut.onnx
json '.verified' verify cut.safetensors cut.onnx
json '.verified and .nodes_after < .nodes_before' collapse cut.onnx -o cut-small.onnx
json '.n == 40' eval cut-small.onnx --data generated:200
prints 'wrote cut.hpp' export cut-small.onnx -o cut.hpp
json '.macs_after <= 0.7 * .macs_before and ([.families[] | .units_after < .units_before] | all)' \
  prune reduce.safetensors -o layers.safetensors --per-layer --ratio 0.3 --criterion l2
prints 'wrote gamma.onnx' prune reduce.safetensors -o gamma.onnx --criterion bn-gamma --ratio 0.2
json '.verified' prune reduce.safetensors -o a.safetensors --criterion random --draw 3
json '.verified' prune reduce.safetensors -o b.safetensors --criterion random --draw 3
json '.verified' prune reduce.safetensors -o c.safetensors --criterion random --draw 4
cmp -s a.safetensors b.safetensors || fail 'the same draw gives another network'
cmp -s a.safetensors c.safetensors && fail 'another draw gives the same network'
json '.blocks_after < .blocks_before and (.dropped | length) > 0 and .collapsed.verified' \
  prune reduce.safetensors -o blocks.safetensors --blocks --ratio 0.05
json '.top1_before >= 0 and .top1 >= 0' prune reduce.safetensors -o judged.safetensors --data generated:200 --validation 40

json '.top1_before >= 0' prune reduce.safetensors -o judged.safetensors --data generated:200 --validation 40 --images 20

# Many sub-networks, without LibTorch.
json '(.points | length) == 6 and ([.criteria[].samples] == [3, 3]) and all(.criteria[]; .top1_cut.yield >= 0 and .median_ms > 0) and .best.test_images == 40 and (. as $all | all(.points[]; .macs <= 0.5 * $all.whole.macs))' \
  prune reduce.safetensors --sample 3 --criterion random,l1 --data generated:200 --validation 40 --out sampled
present sampled/index.html sampled/prune.json sampled/best.onnx sampled/models/l1-2.safetensors
grep -q '"name":"random-1"' sampled/index.html || fail 'index.html lacks a point'
cp sampled/cells/l1-1.json before.json
rm sampled/cells/random-2.json
json '(.points | length) == 6' prune reduce.safetensors --sample 3 --criterion random,l1 --data generated:200 --validation 40 --out sampled
cmp -s before.json sampled/cells/l1-1.json || fail 'what was measured is measured again'
present sampled/cells/random-2.json
json '(.points | length) == 6 and all(.points[]; .ms > 0)' prune reduce.safetensors --sample 3 --criterion random,l1 --data generated:200 --validation 40 --out sampled --measure
refuses 2 'sampled holds results of another command: ratio was 0.5, is 0.3' \
  prune reduce.safetensors --sample 3 --ratio 0.3 --data generated:200 --validation 40 --out sampled
json '(.points | length) == 2 and .settings.cut == "blocks"' prune reduce.safetensors --sample 2 --blocks --ratio 0.05 \
  --data generated:200 --validation 40 --out dropped

# Bad input.
refuses 3 'text\.onnx' prune text.onnx -o never.onnx
refuses 4 'absent\.onnx' prune absent.onnx -o never.onnx
refuses 2 "unknown criterion 'l3'; known: random, l1" prune reduce.onnx -o never.onnx --criterion l3
refuses 2 'several criteria belong to --sample' prune reduce.onnx -o never.onnx --criterion l1,l2
refuses 2 'need images: --data' prune reduce.onnx --sample 3
refuses 2 'need images: --data' prune reduce.onnx
refuses 2 'need images: --data' prune reduce.onnx -o never.onnx --criterion taylor
refuses 2 'reduce\.onnx: .*at most [0-9]+ % of the multiply-accumulates can be cut, not 99 %' prune reduce.onnx -o never.onnx --ratio 0.99
refuses 2 'residual blocks hold' prune reduce.onnx -o never.onnx --blocks --ratio 0.9
refuses 2 'only drawn at random' prune reduce.onnx -o never.onnx --blocks --criterion l1
refuses 2 '--ratio' prune reduce.onnx -o never.onnx --ratio 1.5
refuses 2 'validation 200 leaves nothing' prune reduce.safetensors -o never.onnx --data generated:200 --validation 200
refuses 4 'nowhere' prune reduce.onnx -o nowhere/cut.onnx
refuses 4 'no such file' prune reduce.onnx -o never.onnx --data nowhere
refuses 5 'no channel can be cut' prune single.onnx -o never.onnx
refuses 5 "criterion 'bn-gamma' has a score for no channel" prune cut-small.onnx -o never.onnx --criterion bn-gamma
refuses 2 '\.txt' prune reduce.onnx -o never.txt
refuses 5 "'the node' .BatchNormalization.*model\.eval" prune training.onnx -o never.onnx
absent never.onnx

if ! trains; then
  refuses 5 'prune: needs .*apt install libtorch-dev' prune reduce.safetensors -o never.onnx --criterion taylor --data generated:200 --validation 40
  absent never.onnx
  echo "$tests commands, $failures failures; training is not part of this build"
  [ $failures -eq 0 ]
  exit
fi

# With LibTorch: gradients, statistics, fine-tuning; interrupted and resumed.
cat >resnet.toml <<'TOML'
[model]
arch = "resnet"
modules = 2
widths = [4, 8]

[data]
path = "generated:640"
validation = 128

[optimizer]
batch = 16
lr = 0.05

[train]
epochs = 2
threads = 1
batch_norm_batches = 4
TOML
json '.epochs == 2' train resnet.toml --out deep
json '.verified and .top1 >= 0 and .top1_bn >= 0 and .top1_finetuned >= 0 and .collapsed.verified' \
  prune deep/model.safetensors -o tuned.onnx --criterion taylor --ratio 0.3 --data generated:640 --validation 128 \
  --bn-batches 8 --finetune 2 --lr 0.05 --set optimizer.batch=16
json '.verified' collapse tuned.onnx -o tuned-small.onnx --data generated:640
json '.verified' prune deep/model.safetensors -o untuned.onnx --criterion taylor --ratio 0.3 --data generated:640 --validation 128
run verify untuned.onnx tuned.onnx
[ $code -eq 1 ] || fail "exit $code: neither statistics nor fine-tuning changed anything"
sample() {
  json "$1" prune deep/model.safetensors --data generated:640 --validation 128 --ratio 0.4 --sample 3 --criterion random,taylor \
    --bn-batches 4 --finetune 1 --finetune-samples 2 --out sampled-deep
}
"$tool" prune deep/model.safetensors --data generated:640 --validation 128 --ratio 0.4 --sample 3 --criterion random,taylor \
  --bn-batches 4 --finetune 1 --finetune-samples 2 --out sampled-deep >stdout 2>stderr </dev/null &
child=$!
while kill -0 $child 2>/dev/null && ! [ -s sampled-deep/cells/random-0.json ]; do sleep 0.02; done
kill -INT $child 2>/dev/null
wait $child
code=$? arguments='prune --sample, interrupted'
if [ $code -ne 130 ] && [ $code -ne 0 ]; then fail "exit $code, not 130"; fi
cp sampled-deep/cells/random-0.json first.json
sample '(.points | length) == 6 and (.interrupted | not) and all(.criteria[]; .top1_bn.count == 3 and .top1_finetuned.count == 2) and .best.stage == "top1_finetuned"'
cmp -s first.json sampled-deep/cells/random-0.json || fail 'what was measured is measured again'
grep -q 'fine-tuned, %' sampled-deep/index.html || fail 'the page lacks the fine-tuned stage'
jq -e '.top1 == null' sampled-deep/random-0/result.json >/dev/null || fail 'fine-tuning read the test images'
figures() { jq -c '[.points[] | {name, top1_cut, top1_bn, top1_finetuned}]' "$1/prune.json"; }
figures sampled-deep >in-parts.json
mv sampled-deep in-parts
sample '.best.test_top1 >= 0'
figures sampled-deep | cmp -s - in-parts.json || fail 'an interrupted sampling ends in other figures'

# One network: interrupted while it is fine-tuned, by a signal of its own number, it goes on where it was.
tune="prune deep/model.safetensors --criterion l1 --ratio 0.3 --data generated:640 --validation 128 --finetune 8 --set optimizer.batch=16"
# shellcheck disable=SC2086
json '.top1_finetuned >= 0 and (.interrupted | not)' $tune -o whole-tuned.safetensors
arguments="$tune -o part-tuned.safetensors, interrupted"
# shellcheck disable=SC2086
"$tool" $tune -o part-tuned.safetensors --json >stdout 2>stderr </dev/null &
child=$!
while kill -0 $child 2>/dev/null && ! [ -s part-tuned.safetensors.finetune/metrics.jsonl ]; do sleep 0.02; done
kill -TERM $child 2>/dev/null
wait $child
code=$?
if [ $code -ne 143 ]; then fail "exit $code, not 143"; elif ! jq -e .interrupted stdout >/dev/null; then fail 'not interrupted'; fi
absent part-tuned.safetensors
# shellcheck disable=SC2086
json '.interrupted | not' $tune -o part-tuned.safetensors
cmp -s whole-tuned.safetensors part-tuned.safetensors || fail 'an interrupted fine-tuning ends in another network'
mkdir -p other/train/x other/train/y other/test/x other/test/y
for folder in train/x train/y test/x test/y; do for i in 1 2 3; do cp dot.png other/$folder/$i.png; done; done
refuses 2 'another order' prune deep/model.safetensors -o never.onnx --data other --validation 2 --bn-batches 1

# RMNet: residuals become reserved channels, exactly; then channels are cut, and the plain network goes on.
json '[.nodes[] | select(.op == "Add")] | length == 4' inspect deep/model.safetensors
json '.verified' collapse deep/model.safetensors -o plain.safetensors --reserve
json '[.nodes[] | select(.op == "Add")] | length == 0' inspect plain.safetensors
json '.verified and .macs_after <= 0.6 * .macs_before and .collapsed.verified' \
  prune plain.safetensors -o plain-cut.safetensors --ratio 0.4 --criterion taylor --data generated:640 --validation 128
json '.verified' collapse plain-cut.safetensors -o rmnet.onnx
json '[.nodes[] | select(.op == "Add")] | length == 0' inspect rmnet.onnx

echo "$tests commands, $failures failures"
[ $failures -eq 0 ]
