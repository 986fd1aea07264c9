#!/usr/bin/env bash
# What docs/performance.md says of engines, start-up and FP8, in parts that may run beside each other and go on between two calls:
#   bench/gpu/lanes.sh PART...
# weights   random weights: FAST/qwen with 12,000 pieces, FAST/qwen500 with 500, and FAST/adapter
# adapters  three more adapters, and FAST/twin/qwen: the same weights at another place
# oss       GPT-OSS-20B with its release's tokenizer in FAST/oss, from o200k_base.tiktoken in VOCABULARY
# rows      the rows of ROWS (by semicolons), one pytest after the other, out of one store
# sglang    unpacks PARTS/sglang.tar.xz.* and serves FAST/qwen with it
# engines   vLLM in the ways WAYS on the card CARD, one after the other (engine_speed.py)
# chain     the row random-qwen, base and tuned, alone on the card CHAIN_CARD
# fp8       training with and without frozen_fp8 on the card CHAIN_CARD
# host      imports, forks and hashing (host.py)
# two_cards.sh unpacks what they need (site vllm). Parts wait for each other through files in LOGS. CORES and CHAIN_CORES are the
# processors of the first part and of the others.
set -u
FAST=${FAST:-/dev/shm} SLOW=${SLOW:-/tmp} LOGS=${LOGS:-/tmp/out} PYTHON=${PYTHON:-python3} DATA=${DATA:-.data} CONFIG=${CONFIG:-qwen2.5-7b}
CARD=${CARD:-0} CHAIN_CARD=${CHAIN_CARD:-1} MATRIX=${MATRIX:-bench/gpu/matrix.yaml}
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
export VLLM_USE_FLASHINFER_SAMPLER=0 VLLM_ALLREDUCE_USE_SYMM_MEM=0 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
mkdir -p "$LOGS"
[ -f "$LOGS/began" ] || date +%s > "$LOGS/began"
BEGAN=$(cat "$LOGS/began")
say() { echo "[$(( $(date +%s) - BEGAN )) s] $*" | tee -a "$LOGS/clock.log"; }
until_there() { until [ -e "$1" ]; do sleep 0.5; done; }

weights() {
  mount -o "remount,size=${SHM:-110G}" /dev/shm 2>/dev/null
  "$PYTHON" bench/gpu/mixed_text.py "$DATA"
  CUDA_VISIBLE_DEVICES=$CARD "$PYTHON" bench/gpu/random_model.py --config "$CONFIG" --out "$FAST/qwen" --text "$DATA/mixed.jsonl" \
    --pieces "${PIECES:-12000}" > "$LOGS/qwen.log" 2>&1 & a=$!
  CUDA_VISIBLE_DEVICES=$CHAIN_CARD "$PYTHON" bench/gpu/random_model.py --config "$CONFIG" --out "$FAST/qwen500" --text "$DATA/smile/train.jsonl" \
    > "$LOGS/qwen500.log" 2>&1 & b=$!
  wait $a $b
  "$PYTHON" bench/gpu/random_adapter.py "$FAST/qwen" "$FAST/adapter"
  touch "$LOGS/weights"; say "weights: $(tail -qn 1 "$LOGS/qwen.log")"
}

engines() {
  until_there "$LOGS/weights"; until_there "$LOGS/vllm"
  [ -z "${AFTER:-}" ] || until_there "$LOGS/$AFTER-ended"
  CUDA_VISIBLE_DEVICES=$CARD taskset -c "${CORES:-0-15}" "$PYTHON" bench/gpu/engine_speed.py --model "${MODEL:-$FAST/qwen}" --adapter "$FAST"/adapter* \
    --data "$DATA" --out "$LOGS/${NAME:-engines}" $WAYS ${OPTIONS:-} >> "$LOGS/engines.log" 2>&1
  say "engines ended with $?"; touch "$LOGS/${NAME:-engines}-ended"
}

adapters() {
  until_there "$LOGS/weights"
  for n in 2 3 4; do "$PYTHON" bench/gpu/random_adapter.py "$FAST/qwen" "$FAST/adapter$n" "$n"; done
  mkdir -p "$FAST/twin/qwen" && ln -sf "$FAST"/qwen/* "$FAST/twin/qwen/"
  touch "$LOGS/adapters"; say "adapters"
}

oss() {
  CUDA_VISIBLE_DEVICES=$CHAIN_CARD "$PYTHON" bench/gpu/random_model.py --config gpt-oss-20b --out "$FAST/oss" --text "$DATA/smile/train.jsonl" \
    --vocabulary "$VOCABULARY" > "$LOGS/oss.log" 2>&1
  until_there "$LOGS/site"
  "$PYTHON" -m bakeoff.forms.harmony "$FAST/oss" "$SLOW/vocabulary" >> "$LOGS/oss.log" 2>&1
  touch "$LOGS/oss"; say "oss: $(tail -qn 3 "$LOGS/oss.log" | tr '\n' ' ')"
}

rows() {
  until_there "$LOGS/adapters"; until_there "$LOGS/site"; until_there "$LOGS/vllm"
  local number=0 chosen
  while read -r chosen; do
    number=$(( number + 1 ))
    CUDA_VISIBLE_DEVICES=$CHAIN_CARD taskset -c "${CHAIN_CORES:-16-31}" timeout -s TERM -k 30 "${ROW_S:-560}" "$PYTHON" -m pytest benchmarks/ \
      --matrix "$MATRIX" -k "$chosen" ${MARKS:+-m "$MARKS"} --data-dir "$DATA" --store "$FAST/store-rows" --html="$SLOW/reports-rows/" \
      ${PLUGIN--p fixtures.options} -p no:cacheprovider > "$LOGS/rows-$number.log" 2>&1 < /dev/null
    say "rows $chosen ended with $?"
    "$PYTHON" bench/gpu/summary.py "$FAST/store-rows" > "$LOGS/rows-$number.json"
  done <<< "${ROWS//;/$'\n'}"
  touch "$LOGS/rows-ended"
}

sglang() {
  mkdir -p /tmp/sglang && cat "${PARTS:-/tmp/parts}"/sglang.tar.xz* | xz -dc -T0 | tar -xf - -C /tmp/sglang
  until_there "$LOGS/weights"; until_there "$LOGS/site"; [ -z "${AFTER:-}" ] || until_there "$LOGS/$AFTER-ended"
  PYTHONPATH=/tmp/sglang:$PWD CUDA_VISIBLE_DEVICES=$CHAIN_CARD taskset -c "${CHAIN_CORES:-16-31}" "$PYTHON" bench/gpu/engine_speed.py --model "$FAST/qwen" \
    --data "$DATA" --out "$LOGS/sglang-speed" --port 8300 sglang ${OPTIONS:-} >> "$LOGS/sglang.log" 2>&1
  say "sglang ended with $?"; touch "$LOGS/sglang-ended"
}

chain() {
  until_there "$LOGS/weights"; until_there "$LOGS/site"
  CUDA_VISIBLE_DEVICES=$CHAIN_CARD taskset -c "${CHAIN_CORES:-16-31}" timeout -s TERM -k 30 "${ROW_S:-560}" "$PYTHON" -m pytest benchmarks/ \
    --matrix "$MATRIX" -k random-qwen ${MARKS:+-m "$MARKS"} --data-dir "$DATA" --store "$FAST/store-chain" --html="$SLOW/reports-chain/" \
    ${PLUGIN--p fixtures.options} -p no:cacheprovider > "$LOGS/chain.log" 2>&1
  say "chain ended with $?"
  "$PYTHON" bench/gpu/summary.py "$FAST/store-chain" > "$LOGS/chain.json"
  touch "$LOGS/chain-ended"
}

fp8() {
  until_there "$LOGS/weights"; until_there "$LOGS/site"
  [ -z "${AFTER:-}" ] || until_there "$LOGS/$AFTER-ended"
  CUDA_VISIBLE_DEVICES=$CHAIN_CARD taskset -c "${CHAIN_CORES:-16-31}" "$PYTHON" bench/gpu/train_speed.py --model "$FAST/qwen500" \
    --data "$DATA/smile/train.jsonl" --out "$LOGS/fp8" --steps "${STEPS:-10}" ${TRAIN:-ours ours-fp8} > "$LOGS/fp8.log" 2>&1
  say "fp8 ended with $?: $(grep '^==' "$LOGS/fp8.log" | cut -c 1-200)"; touch "$LOGS/fp8-ended"
}

host() {
  until_there "$LOGS/weights"; until_there "$LOGS/site"
  CUDA_VISIBLE_DEVICES=$CHAIN_CARD taskset -c "${CHAIN_CORES:-16-31}" "$PYTHON" bench/gpu/host.py --model "$FAST/qwen" > "$LOGS/host.json" 2>&1
  say "host ended with $?"; touch "$LOGS/host-ended"
}

nvidia-smi --query-gpu=timestamp,index,memory.used,utilization.gpu --format=csv,noheader,nounits -lms 1000 >> "$LOGS/memory.csv" 2>/dev/null & watch=$!
running=()
for part in "$@"; do "$part" & running+=($!); done
wait "${running[@]}"
kill $watch 2>/dev/null
say "ended: $*"
