#!/bin/sh
# run.sh REDUCENET FIXTURES: every verb as it should go, and every bad input with its message and exit code.
set -u
tool=$1
. "$(dirname "$(readlink -f "$0")")/check.sh"
"$2" . || exit 1

# Inputs that are not models or images.
echo 'not a model' >text.onnx
echo 'not a model' >text.safetensors
cp text.onnx model.txt
head -c 1000 reduce.safetensors >truncated.safetensors
head -c 1000 reduce.onnx >truncated.onnx
mkdir cifar corrupt corrupt/test corrupt/test/a
head -c 30000 /dev/zero >cifar/test_batch.bin
for i in 1 2 3 4 5; do head -c 30730 /dev/zero >cifar/data_batch_$i.bin; done
make_dot
printf '\377\330\377\340 no more' >corrupt/test/a/broken.jpg

# The frame.
prints 'collapse' --help
prints 'Examples' collapse --help
prints '^[0-9]+\.[0-9]+\.[0-9]+$' --version
refuses 2 'subcommand is required'
refuses 2 "no verb 'shrink'" shrink reduce.onnx
refuses 2 'not expected: .*--fast' inspect reduce.onnx --fast
refuses 2 'model is required' inspect

# inspect
prints 'non-linear nodes' inspect reduce.onnx
json '.nonlinear > 0 and .macs > 0 and .parameters > 0 and .linear_regions > 0 and all(.nodes[]; has("shape") and has("linear"))' inspect reduce.safetensors
json '.nonlinear == 0 and .linear_regions == 1' inspect article.safetensors
refuses 4 'absent\.onnx' inspect absent.onnx
refuses 3 'text\.onnx' inspect text.onnx
refuses 3 'text\.safetensors' inspect text.safetensors
refuses 3 'truncated\.safetensors' inspect truncated.safetensors
refuses 3 'truncated\.onnx' inspect truncated.onnx
refuses 2 'model\.txt.*\.onnx' inspect model.txt

# collapse
json '.verified and .nodes_after < .nodes_before and .macs_after <= .macs_before and .params_after < .params_before and .nonlinear_after == .nonlinear_before and .max_rel_error < 1e-4 and .top1_agreement == 1 and (.refused | type) == "array"' collapse reduce.onnx -o small.onnx
json '.verified and .nodes_after == 2 and .nonlinear_after == 0' collapse article.safetensors -o single.onnx --to single
json '.samples > 8' collapse reduce.safetensors -o real.onnx --data generated:20
prints 'by ' collapse reduce.safetensors -o explained.safetensors --explain
json '.verified and (.explain | length) == .nodes_before' collapse reduce.onnx -o once.onnx --stop-after 1 --explain
refuses 5 '[Rr]elu' collapse reduce.onnx -o never.onnx --to single
absent never.onnx
refuses 4 'nowhere' collapse reduce.onnx -o nowhere/small.onnx
refuses 2 '\.txt' collapse reduce.onnx -o small.txt
refuses 2 '--to' collapse reduce.onnx -o never.onnx --to nothing
refuses 2 '--out is required' collapse reduce.onnx
refuses 3 'truncated\.safetensors' collapse truncated.safetensors -o never.onnx
absent never.onnx
json '.steps == 2 and (.last_step | has("rule") and has("node") and has("result"))' collapse reduce.onnx -o twice.onnx --stop-after 2
prints '^last step: .* at ' collapse reduce.onnx -o twice.onnx --stop-after 2
json 'all(.regions[]; .bound > 0 and .error_to_bound <= 1) and (.seconds | has("regions") and has("samples"))' collapse reduce.onnx -o small.onnx
prints 'error .*, bound ' collapse reduce.onnx -o small.onnx --explain

# borders, reserved channels
prints '--borders.*' collapse --help
prints '--reserve' collapse --help
json '.verified and .nodes_after == 3 and (.refused | any(.why | contains("border outputs differ")))' collapse padded.onnx -o kept.onnx
json '.verified and .nodes_after > 3 and .macs_after < 0.8 * .macs_before' collapse padded.onnx -o strips.onnx --borders
json '.verified' verify padded.onnx strips.onnx
json '.verified and .nodes_after == 5' collapse residual.onnx -o kept.onnx
json '.verified and .nodes_after == 4 and .macs_after > .macs_before' collapse residual.onnx -o reserved.onnx --reserve
json '.verified and .nodes_after == 5 and .macs_after == .macs_before' collapse residual.onnx -o reserved.onnx --reserve --to plan
refuses 2 '--borders and --reserve belong to' collapse padded.onnx -o never.onnx --borders --to single
absent never.onnx

# plans
export XDG_CACHE_HOME="$work/cache"
json '.verified and .cost.measure == "macs" and .cost.after <= .cost.before' collapse article.safetensors -o plan.onnx --to plan
json '.verified and .cost.unit == "ms" and .cost.measured_now > 0 and .cost.after <= .cost.before' collapse article.safetensors -o plan.onnx --cost measured
json '.cost.measured_now == 0' collapse article.safetensors -o plan.onnx --to plan --cost measured
json '.costs > 0' bench article.safetensors --seconds 0.05 --emit-cost costs.json
json '.verified and .cost.interpolated == 0 and .cost.after <= .cost.before' collapse article.safetensors -o plan.onnx --cost costs.json
json '.verified and .cost.interpolated > 0' collapse reduce.onnx -o plan.onnx --cost costs.json
refuses 3 'text\.onnx' collapse reduce.onnx -o never.onnx --cost text.onnx
refuses 4 'absent\.json' collapse reduce.onnx -o never.onnx --cost absent.json
refuses 2 'belong to --to plan' collapse reduce.onnx -o never.onnx --to module --cost macs
export REDUCENET_PYTHON=/nonexistent
refuses 5 'pip install onnxruntime' collapse reduce.onnx -o never.onnx --cost measured --engine onnxruntime
refuses 5 'pip install onnxruntime' verify reduce.onnx small.onnx --engine onnxruntime
json '.verified and .nodes_before == 3 and .nodes_after == 2 and (.not_run | [scan("Twist")] | length) == 1 and (.regions | length) == 1' collapse unknown.onnx -o kept.onnx
prints 'not run.*Twist' collapse unknown.onnx -o kept.onnx
unset REDUCENET_PYTHON
absent never.onnx

# models that are not well formed: the file and the place, exit 3, nothing written
while read -r name pattern; do
  refuses 3 "$name\.onnx.*$pattern" collapse $name.onnx -o never.onnx
  absent never.onnx
done <<'BAD'
cyclic cycle
dangling 'the.node'.*nowhere
sizes 'w'.*8.bytes
negative 'w'.*negative
absurd 'x'.*absurd
outside 'w'.*\.\./secret.*leaves
absolute 'w'.*relative
BAD
refuses 5 'x.*is too large' collapse huge.onnx -o never.onnx
refuses 5 "'the node' .BatchNormalization.*model\.eval" collapse training.onnx -o never.onnx
absent never.onnx

# verify
prints '^verified' verify reduce.onnx small.onnx
json '.verified and .samples == 8' verify reduce.safetensors small.onnx
run verify reduce.onnx other-weights.onnx
[ $code -eq 1 ] && grep -q '^NOT verified' stdout || fail "exit $code; models that differ must fail"
refuses 3 'input' verify reduce.onnx other-input.safetensors

# eval, predict
prints '^top-1 .* of 40 images' eval small.onnx --data generated:200
json '.n == 40 and .top1 >= 0 and .top1 <= .top5 and ([.confusion[][]] | add) == 40' eval small.onnx --data generated:200
refuses 4 'absent' eval small.onnx --data absent
refuses 3 'test_batch\.bin' eval small.onnx --data cifar
refuses 3 'broken\.jpg' eval small.onnx --data corrupt
mkdir corrupt/test/b && cp dot.png corrupt/test/a && cp dot.png corrupt/test/b
json '.n == 2 and .skipped == 1' eval small.onnx --data corrupt --skip-corrupt
refuses 3 'broken\.jpg.*--skip-corrupt' verify small.onnx small.onnx --data corrupt
prints 'verified' verify small.onnx small.onnx --data corrupt --skip-corrupt
prints 'wrote' collapse reduce.onnx -o left-out.onnx --data corrupt --skip-corrupt
json '.images[0].path == "dot.png" and (.images[0].predictions | length) == 3 and (.images[0].predictions[0].probability <= 1)' predict small.onnx dot.png --top 3
refuses 3 'broken\.jpg' predict small.onnx corrupt/test/a/broken.jpg
refuses 4 'absent\.png' predict small.onnx absent.png

# bench, export
json '.median_ms > 0 and .p90_ms >= .median_ms and .images_per_s > 0' bench small.onnx --seconds 0.05
prints 'median' bench small.onnx --seconds 0.05 --batch 2 --threads 2 --steps
json '.median_ms > 0' bench small.onnx --seconds 0.05 --dtype bf16
# Plans compute in integers where the CPU multiplies bytes fast, and stay in float32 elsewhere.
fast_bytes=$(grep -qw avx512_vnni /proc/cpuinfo && echo true || echo false)
json ".median_ms > 0 and any(.steps[]; .kernel == \"conv-int8\") == $fast_bytes" bench small.onnx --seconds 0.05 --dtype int8 --steps
refuses 2 '--threads' bench small.onnx --threads 0
prints 'wrote small.safetensors' export small.onnx -o small.safetensors
json '.verified' verify small.onnx small.safetensors
prints 'wrote small.hpp' export small.onnx -o small.hpp
grep -q '^namespace small {' small.hpp || fail 'no namespace'
json '.top1_f32 >= 0 and .top1_int8 >= 0 and .top1_int8_plain >= 0 and .n == 40' export small.onnx -o int8.onnx --dtype int8 --data generated:200
json '.n == 40 and .top1 >= 0' eval int8.onnx --data generated:200
json "any(.steps[]; .kernel == \"conv-int8\") == $fast_bytes" bench int8.onnx --dtype int8 --seconds 0.05 --steps
prints 'wrote int8q.hpp' export int8.onnx -o int8q.hpp
prints 'on 8 samples' collapse int8.onnx -o int8c.onnx
prints 'int8, equalised' export small.onnx -o int8.safetensors --dtype int8 --data generated:200
json "any(.steps[]; .kernel == \"conv-int8\") == $fast_bytes" bench int8.safetensors --dtype int8 --seconds 0.05 --steps
prints 'wrote int8.hpp' export int8.safetensors -o int8.hpp
# A model that its exporter fixed to a number of images.
for images in one three; do
  json '.verified' collapse $images-images.onnx -o fixed.onnx --data generated:200 --samples 4
  json '.verified' verify $images-images.onnx fixed.onnx --data generated:200
  json '.n == 40 and .top1_int8 >= 0 and .calibration_images == 20' export fixed.onnx -o fixed.safetensors --dtype int8 --data generated:200 --calibration 20
  json '.n == 40' eval $images-images.onnx --data generated:200 --batch 7
  jq .confusion stdout >$images.confusion
  json '.images[0].predictions | length == 5' predict $images-images.onnx dot.png
  jq -c '.images[0].predictions[] | .index' stdout >$images.order
  refuses 2 'fixed batch' bench $images-images.onnx --batch 2
done
same one.confusion three.confusion
same one.order three.order
# What it does not say about its images is written into it.
printf 'class %s\n' 0 1 2 3 4 5 6 7 8 9 >class-names
json '.n == 40' export fixed.onnx -o fixed.safetensors --dtype int8 --data generated:200
[ "$(grep -c 'does not say' stderr)" = 1 ] || fail 'no warning that the model does not say, once, how its images are normalised'
json '.bytes > 0' export one-images.onnx -o described.onnx --mean 0.5 --std 0.25,0.25,0.25 --class-names class-names
json '.images[0].predictions[0].class | startswith("class ")' predict described.onnx dot.png
jq -c '.images[0].predictions[] | [.index, .probability]' stdout >described.scores
[ ! -s stderr ] || fail 'a warning'
json '.images' predict reduce.onnx dot.png
jq -c '.images[0].predictions[] | [.index, .probability]' stdout >reduce.scores
same described.scores reduce.scores
refuses 5 'no image of known size.*--size' eval any-size.onnx --data generated:200
refuses 2 'any size: say which' export any-size.onnx -o never.onnx --mean 0.5 --std 0.25
refuses 5 'known only at run time.*--size' bench any-size.onnx
json '.bytes > 0' export any-size.onnx -o sized.onnx --size 16x24
json '.median_ms > 0' bench sized.onnx --seconds 0.05
json '.bytes > 0' export any-size.onnx -o sized.onnx --mean 0.5 --std 0.25 --size 16
json '.n == 40' eval sized.onnx --data generated:200
prints 'wrote sized.hpp' export sized.onnx -o sized.hpp
refuses 2 'divide by 255' export one-images.onnx -o never.onnx --mean 127 --std 127
refuses 2 'given together' export one-images.onnx -o never.onnx --mean 0.5
refuses 2 '2 values.*3 channels' export one-images.onnx -o never.onnx --mean 0.5,0.5 --std 0.25
refuses 2 'std: 0 makes no sense' export one-images.onnx -o never.onnx --mean 0.5 --std 0
refuses 2 'takes 16x16' export one-images.onnx -o never.onnx --mean 0.5 --std 0.25 --size 8x8
# Channels last, as TensorFlow writes models: turned once, and then the same network.
refuses 2 'channels-first' eval pixels.onnx --data generated:200
for model in pixels shifted-pixels; do
  json '.bytes > 0' export $model.onnx -o planes.onnx --channels-first --mean 0.5 --std 0.25
  json '.images' predict planes.onnx dot.png
  jq -c '.images[0].predictions[] | [.index, .probability]' stdout >planes.scores
  same planes.scores reduce.scores
  json '.verified' collapse planes.onnx -o planes-small.onnx
done
# Signals [N, C, L]: no row is written that was not there.
refuses 5 'known only at run time.*--size' bench signals.onnx
refuses 2 'signals: one number' export signals.onnx -o never.onnx --size 1x16
json '.bytes > 0' export signals.onnx -o signals-16.onnx --size 16
refuses 2 'takes 16 signals' export signals-16.onnx -o never.onnx --size 17
json '.median_ms > 0' bench signals-16.onnx --seconds 0.05
json '.verified and .nodes_after < .nodes_before' collapse signals-16.onnx -o signal.onnx
if grep -aq 'queeze' signal.onnx; then fail 'a row in a network of signals'; fi
prints 'wrote signal.hpp' export signal.onnx -o signal.hpp
refuses 2 'holds no channels' export one-images.onnx -o never.onnx --channels-first
head -n 9 class-names >few-names
refuses 3 '9 names.*10 outputs' export one-images.onnx -o never.onnx --class-names few-names
absent never.onnx

refuses 2 'needs --data' export small.onnx -o never.onnx --dtype int8
refuses 2 'of 8 bits already' export int8.onnx -o never.onnx --dtype int8 --data generated:200
refuses 2 'collapse the model first' export reduce.onnx -o never.onnx --dtype int8 --data generated:200
prints 'wrote half.safetensors' export small.onnx -o half.safetensors --dtype bf16
prints 'median' bench half.safetensors --dtype bf16 --seconds 0.05
prints 'wrote half.hpp' export small.onnx -o half.hpp --dtype bf16
refuses 5 'bf16' export small.onnx -o never.onnx --dtype bf16
absent never.onnx
refuses 2 'cannot be read: small\.hpp' inspect small.hpp
refuses 2 'small\.docx' export small.onnx -o small.docx

echo "$tests commands, $failures failures"
[ $failures -eq 0 ]
