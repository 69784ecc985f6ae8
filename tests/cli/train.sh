#!/bin/sh
# train.sh REDUCENET: training from the command line: results, interruption, resumption, and every bad input.
set -u
tool=$1
. "$(dirname "$(readlink -f "$0")")/check.sh"

cat >tiny.toml <<'TOML'
[model]
arch = "reduce"
modules = 1
widths = [4, 8]

[data]
path = "generated:320"
validation = 64

[optimizer]
batch = 16
ema = 0.9

[train]
epochs = 4
threads = 1
batch_norm_batches = 4
TOML

# Fails the last command unless FILE… exist and are not empty.
present() { for file; do [ -s "$file" ] || fail "$file is missing"; done; }

json '.epochs == 4 and .top1 >= 0 and .val_top1 >= 0 and .images_per_s > 0 and .out == "whole"' train tiny.toml --out whole

# A new run in the folder of another one, here of one that it starts from: nothing of that is lost.
cp -r whole again
json '.epochs == 1' train tiny.toml --set train.epochs=1 --from again/model.safetensors --out again
for file in model.safetensors checkpoint.safetensors metrics.jsonl result.json; do same whole/$file again/before-1/$file; done
grep -q 'kept in again/before-1' stderr || fail 'does not say where the former run is'
[ "$(wc -l <again/metrics.jsonl)" = 2 ] || fail 'metrics.jsonl is not of the new run alone'
present whole/model.safetensors whole/checkpoint.safetensors whole/metrics.jsonl whole/result.json whole/events.*
[ "$(wc -l <whole/metrics.jsonl)" = 5 ] || fail "metrics.jsonl has not 4 epochs and a final line"
json '.nonlinear < 10' inspect whole/model.safetensors
json '.verified and .nodes_after < .nodes_before' collapse whole/model.safetensors -o whole/deployed.safetensors
json '.n == 64' eval whole/deployed.safetensors --data generated:320
json '.["optimizer.lr"].default' train --keys

# Interrupted after the first epoch, by a signal and by force: what goes on ends in the same bits.
for signal in INT KILL; do
  arguments="train tiny.toml --out cut, SIG$signal"
  rm -rf cut
  "$tool" train tiny.toml --out cut >stdout 2>stderr </dev/null &
  child=$!
  while kill -0 $child 2>/dev/null && ! [ -s cut/metrics.jsonl ]; do sleep 0.02; done
  kill -$signal $child 2>/dev/null
  wait $child
  code=$?
  if [ $signal = INT ] && [ $code -ne 130 ] && [ $code -ne 0 ]; then fail "exit $code, not 130"; fi
  json '.epochs == 4 and (.interrupted | not)' train tiny.toml --out cut --resume
  same whole/model.safetensors cut/model.safetensors
done

refuses 4 'absent\.toml' train absent.toml
printf '[optimizer]\nlerning_rate = 1\n' >typo.toml
refuses 3 "typo\.toml: unknown key 'optimizer.lerning_rate'" train typo.toml
printf '[optimizer\n' >broken.toml
refuses 3 'broken\.toml' train broken.toml
refuses 2 "unknown key 'train.epoch'.*train\.epochs" train tiny.toml --set train.epoch=3
refuses 2 'train.epochs must be a whole number' train tiny.toml --set train.epochs=many
refuses 2 'optimizer.lr must be in 0 to' train tiny.toml --set optimizer.lr=1e99
refuses 2 'unknown architecture' train tiny.toml --set model.arch=reduse --out never
refuses 4 'no such file or folder: nowhere' train tiny.toml --data nowhere --out never
mkdir -p cifar jpeg/train/a jpeg/test/a
for i in 1 2 3 4 5; do head -c 30730 /dev/zero >cifar/data_batch_$i.bin; done
head -c 30000 /dev/zero >cifar/data_batch_3.bin
refuses 3 'data_batch_3\.bin' train tiny.toml --data cifar --out never
printf '\377\330\377\340 no more' | tee jpeg/train/a/broken.jpg >jpeg/test/a/broken.jpg
refuses 3 'broken\.jpg' train tiny.toml --data jpeg --out never
absent never/model.safetensors

touch file
refuses 4 'file/run' train tiny.toml --out file/run
refuses 3 'another architecture.*tensor' train tiny.toml --set 'model.widths=[4, 6]' --out whole --resume
refuses 2 'comes from another recipe' train tiny.toml --set optimizer.lr=0.05 --out whole --resume
mkdir short
head -c 5000 whole/checkpoint.safetensors >short/checkpoint.safetensors
refuses 3 'short/checkpoint\.safetensors' train tiny.toml --out short --resume
refuses 4 'none/checkpoint\.safetensors' train tiny.toml --out none --resume
refuses 1 'the loss is .* at epoch 1, step [0-9]+ ' train tiny.toml --set optimizer.lr=1e6 --set optimizer.ema=0 --out diverged
present diverged/checkpoint.safetensors
absent diverged/model.safetensors

json '.epochs == 1' train tiny.toml --epochs 1 --from whole/model.safetensors --out warm
refuses 2 'no known format' train tiny.toml --from tiny.toml --out never

# An ONNX model: survivors chosen, the others faded, collapsed, exported.
run export whole/model.safetensors -o deep.onnx
json '.epochs == 1' train tiny.toml --from deep.onnx --epochs 1 --set model.arch=import --set select.by=sensitivity \
  --set select.count=1 --out imported
json '.verified and .nonlinear_after == 1' collapse imported/model.safetensors -o imported.onnx
# The BatchNorms that the export folded away, again: there while it learns, folded away once more by the collapse.
run collapse whole/model.safetensors -o folded.onnx --to module
json '[.nodes[] | select(.op | startswith("BatchNormalization"))] | length == 0' inspect folded.onnx
json '.epochs == 1' train tiny.toml --from folded.onnx --epochs 1 --set model.arch=import --set model.batch_norm=true --out normed
json '[.nodes[] | select(.op | startswith("BatchNormalization"))] | length > 0' inspect normed/model.safetensors
json '.verified' collapse normed/model.safetensors -o normed.onnx
json '[.nodes[] | select(.op | startswith("BatchNormalization"))] | length == 0' inspect normed.onnx
refuses 2 'model.batch_norm is for imported models' train tiny.toml --set model.batch_norm=true --out never
refuses 2 'name the model with --from' train tiny.toml --set model.arch=import --out never
refuses 2 "'softmax' takes no depth" train tiny.toml --set model.arch=softmax7 --out never
[ -e /dev/nvidia0 ] || refuses 5 'device cuda: this LibTorch or machine has none' train tiny.toml --device cuda --out never
# Inverted residuals with other activations, by each way to choose: 4 of them, of which 2 stay; the others fade while it is fine-tuned.
for chosen in relu6:sensitivity hard_swish:learned silu:dp; do
  activation=${chosen%:*}
  run train tiny.toml --epochs 1 --set model.arch=mobilenetv2 --set "model.activation=$activation" --set 'model.fades=[]' --out first
  run export first/model.safetensors -o "$activation.onnx"
  json '.nonlinear == 4' inspect "$activation.onnx"
  json '.epochs == 2' train tiny.toml --from "$activation.onnx" --epochs 2 --set model.arch=import --set "select.by=${chosen#*:}" \
    --set select.count=2 --set select.steps=4 --set select.images=32 --set fade.start=0.3 --set fade.end=0.8 --out faded
  json '.verified and .nonlinear_after == 2 and .nodes_after < .nodes_before' collapse faded/model.safetensors -o faded.onnx
  json '.n == 64' eval faded.onnx --data generated:320
done

# frontier: one run, and the same grid in pieces, end in the same models.
{
  cat tiny.toml
  cat <<'TOML'

[fade]
start = 0.25

[distill]
teacher = "self"

[frontier]
survivors = [2, 0]
epochs = 1
controls = ["plain model.branches=1x1"]
TOML
} >frontier.toml
json '(.cells | length) == 6' frontier frontier.toml --list
json '(.points | length) == 6 and (.pending | length) == 0 and ([.points[] | select(.series == "faded") | .nonlinear] == [2, 0])' \
  frontier frontier.toml --set train.epochs=2 --out front
present front/index.html front/frontier.json front/k0-s0/deployed.onnx front/k2-s0/deployed.safetensors front/control1-lr0.1-s0/deployed.onnx
json '.nonlinear == 2' inspect front/k2-s0/deployed.onnx
json '.nonlinear == 0' inspect front/k0-s0/deployed.onnx
grep -q '"name":"k2"' front/index.html || fail "index.html lacks a point"
mv front whole-front  # models name their teacher: the same folder again
json '(.points | length) == 2 and (.pending | length) == 4' frontier frontier.toml --set train.epochs=2 --out front --only k2-s0
json '(.points | length) == 3' frontier frontier.toml --set train.epochs=2 --out front --only 'k*'
refuses 2 'no cell of the grid is called so' frontier frontier.toml --set train.epochs=2 --out front --only 'q*'
json '. as $all | all($all.points[]; . as $p | (.front | index("ms") != null) == all($all.points[]; .ms > $p.ms or .top1 < $p.top1 or (.ms == $p.ms and .top1 == $p.top1)))' \
  frontier frontier.toml --set train.epochs=2 --out front --page
json 'all(.cells[] | select(.kind == "step"); ([.selection.candidates[] | select(.survives)] | length) == .survivors) and .worth.steps == ["k2", "k0"] and ([.worth.rows[].at[0].kept] | add) == 2' \
  frontier frontier.toml --set train.epochs=2 --out front --page
for cell in deep-s0 k2-s0 k0-s0; do same front/$cell/model.safetensors whole-front/$cell/model.safetensors; done
# Two processes share a grid: none trains what the other does, and the models are the same.
rm -rf front
"$tool" frontier frontier.toml --set train.epochs=2 --out front >/dev/null 2>other.log &
json '(.points | length) == 6 and (.pending | length) == 0' frontier frontier.toml --set train.epochs=2 --out front
cp stderr one.log
wait $! || fail "the other process: exit $?"
for cell in deep-s0 k2-s0 k0-s0 direct-k2-s0 direct-k0-s0 control1-lr0.1-s0; do
  same front/$cell/model.safetensors whole-front/$cell/model.safetensors
  [ "$(cat one.log other.log | grep -c "^$cell: .* deployed")" = 1 ] || fail "$cell was not trained once"
done
rm -rf front
mv whole-front front
json '[.cells[] | .epochs] == [2, 3, 4, 3, 4, 4]' frontier frontier.toml --set train.epochs=2 --out front
json '(.points | length) == 6 and all(.points[]; .ms > 0)' frontier frontier.toml --set train.epochs=2 --out front --measure
refuses 2 'front/cells/deep-s0.json comes from another recipe: .train. epochs = 2, now epochs = 3' \
  frontier frontier.toml --set train.epochs=3 --out front --page
cp front/cells/k2-s0.json kept.json
echo '[]' >front/cells/k2-s0.json
refuses 3 'front/cells/k2-s0.json: not the result of a cell' frontier frontier.toml --set train.epochs=2 --out front --page
mv kept.json front/cells/k2-s0.json
# A cell that diverges is recorded and passed over, once; what needs it is passed over too.
for again in 1 2; do
  run frontier frontier.toml --set frontier.lrs=0.1,1e6 --set train.epochs=2 --set optimizer.ema=0 --out front-failed --only 'control*' --json
  [ $code = 1 ] || fail "exit $code, not 1"
  jq -e '[.failed[].cell] == ["control1-lr1000000-s0"] and (.failed[0].why | test("the loss is")) and [.points[].name] == ["deep", "control1-lr0.1"]' \
    stdout >/dev/null || fail "not so of failed and points"
done
grep -q 'control1-lr1000000-s0 failed: the loss is' front-failed/index.html || fail "index.html does not say what failed"
grep -q . stderr && fail "it was tried again"
run frontier frontier.toml --set optimizer.lr=1e6 --set optimizer.ema=0 --set train.epochs=2 --set 'frontier.controls=[]' --out front-lost
[ $code = 1 ] || fail "exit $code, not 1"
for cell in k2-s0 k0-s0 direct-k2-s0; do grep -q "^$cell failed: it needs [a-z0-9-]*, which failed" stdout || fail "nothing of $cell"; done
# A fan: every network, the deep one too, goes on from the trunk, for equally many epochs.
json '([.cells[] | .epochs] == [2, 1, 1, 1, 3, 3, 3]) and .cells[0].cell == "trunk-s0"' \
  frontier frontier.toml --set frontier.way=fan --set train.epochs=2 --list
# One network from scratch needs its step for the survivors, and that the trunk, and the deep one as its teacher.
json '[.cells[] | [.cell, .needed]] == [["trunk-s0", true], ["deep-s0", true], ["k2-s0", true], ["direct-k2-s0", false]]' \
  frontier frontier.toml --set frontier.way=fan --set train.epochs=2 --list --only 'direct-k2-*'
json '(.points | length) == 3 and ([.points[].epochs] == [3, 3, 3]) and all(.points[]; .train_minutes > 0) and ([.points[].nonlinear] | .[1:] == [2, 0])' \
  frontier frontier.toml --set frontier.way=fan --set train.epochs=2 --out fan --only 'k*'
absent fan/direct-k2-s0
# From an imported model: it is fine-tuned, then its own activations go.
json '([.points[] | select(.series == "deep" or .series == "faded") | .nonlinear] == [4, 2, 0])' \
  frontier frontier.toml --from relu6.onnx --set model.arch=import --set train.epochs=1 --set 'frontier.controls=[]' --out front-relu6
present front-relu6/k0-s0/deployed.onnx
refuses 2 'name the model with --from' frontier frontier.toml --set model.arch=import --out never
refuses 2 'frontier.survivors is empty' frontier tiny.toml --out never
refuses 2 'must fall' frontier frontier.toml --set frontier.survivors=1,2 --out never
refuses 2 "cell 'deep-s0': finetune.epochs = 2 leaves none" frontier frontier.toml --set frontier.way=fan \
  --set frontier.epochs=2 --set finetune.epochs=2 --set train.epochs=3 --out never
refuses 2 "cell 'control1-lr0.1-s0': model.fades: nothing of 'plain' fades at 'residual'" frontier frontier.toml \
  --set 'frontier.controls=["plain model.fades=residual"]' --out never
refuses 4 'nowhere' frontier frontier.toml --data nowhere --out unwritten
refuses 4 'nowhere' squeeze tiny.toml --data nowhere --out unwritten
absent unwritten

# squeeze: stops where the middle no longer helps, and at a budget.
json '.chosen.name == "w4-8-e1" and (.points | length) == 4 and .stopped == "wider ends no longer help"' squeeze tiny.toml --out narrow \
  --set train.epochs=1 --set squeeze.expansions=1,2,4 --set squeeze.ends=1,1.5 --set squeeze.gain=1
json 'all(.points[]; .command | test("--set .train.epochs=1. .* --set train.seed=0 "))' squeeze tiny.toml --out narrow \
  --set train.epochs=1 --set squeeze.expansions=1,2,4 --set squeeze.ends=1,1.5 --set squeeze.gain=1
refuses 2 'narrow/cells/w4-8-e1-s0.json comes from another recipe' squeeze tiny.toml --out narrow --set train.epochs=2
json '(.points | length) == 1 and (.points[0].verdict | test("no middle"))' squeeze tiny.toml --out plain --set model.arch=plain \
  --set train.epochs=1 --set squeeze.expansions=1,2 --set squeeze.ends=1
json '.stopped | test("over the budget")' squeeze tiny.toml --set train.epochs=1 --set squeeze.expansions=1 --set squeeze.ends=1,30 \
  --set squeeze.milliseconds=0.7 --out budget
present budget/index.html budget/squeeze.json
refuses 1 'to have it tried again, delete diverging/cells/w4-8-e1-s0.json' squeeze tiny.toml --set train.epochs=1 --set optimizer.lr=1e6 --set optimizer.ema=0 \
  --set squeeze.expansions=1 --set squeeze.ends=1 --out diverging

echo "$tests commands, $failures failures"
[ $failures -eq 0 ]
