#!/usr/bin/env bash
# What docs/performance.md says of two cards of one host, in parts that may run beside each other and go on between two calls:
#   bench/gpu/two_cards.sh PART...
# site      unpacks and compiles what pack.sh packed (parts in PARTS), but for vLLM
# vllm      the same for vLLM
# build     random weights: gpt_oss, chatglm3 (published forms), qwen, thin (a 32B shape with two layers) and large (64 layers)
# forms     the rows published-gpt-oss and published-chatglm3 on card 1, at full depth
# engines   the row shared-vllm alone on card 0, then merged-lmdeploy with the adapter that it trained
# thin      what a 32B row needs, tried with two layers: FSDP on two cards, and vLLM on two
# large     the row random-32b on both cards, once the weights of the forms are gone
# invariant vLLM on the weights SERVED (qwen's) and the card CARD (1), without and with batch invariance, each at 64 and 512 in flight
# table     stages, seconds and agreement of all stores so far as LOGS/summary.json
# Every row has a store of its own in FAST, so that it can be removed, and leases of its own, so that rows share a card where
# memory allows. FAST is memory (/dev/shm), SLOW a disk. Parts wait for each other through files in LOGS.
set -u
FAST=${FAST:-/dev/shm} SLOW=${SLOW:-/tmp} LOGS=${LOGS:-/tmp/out} PYTHON=${PYTHON:-python3}
MATRIX=${MATRIX:-bench/gpu/matrix.yaml} DATA=${DATA:-.data} BUILD=${BUILD:-} FORMS=${FORMS:-}
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
# vLLM: pack.sh leaves flashinfer out; no NVLink multicast, which may put a shared host out of service
export VLLM_USE_FLASHINFER_SAMPLER=0 VLLM_ALLREDUCE_USE_SYMM_MEM=0 VLLM_NO_USAGE_STATS=1
mkdir -p "$LOGS" "$SLOW/published"
[ -f "$LOGS/began" ] || date +%s > "$LOGS/began"
BEGAN=$(cat "$LOGS/began")
say() { echo "[$(( $(date +%s) - BEGAN )) s] $*" | tee -a "$LOGS/clock.log"; }

# NAME CARDS MARKS: a row of the matrix in a pytest of its own
row() {
  local name=$1 tree=${TREE:-$PWD}
  mkdir -p "$SLOW/leases/$name"
  ( cd "$tree" && PYTHONPATH=$tree CUDA_VISIBLE_DEVICES=$2 TMPDIR=$SLOW/leases/$name timeout -s TERM -k 30 "${ROW_S:-900}" \
      "$PYTHON" -m pytest benchmarks/ --matrix "${MATRIX}" -k "$name" -m "$3" --data-dir "$DATA" --store "$FAST/store-${STORE:-$name}" \
      --html="$SLOW/reports-$name/" ${PLUGIN--p fixtures.options} -p no:cacheprovider >> "$LOGS/$name.log" 2>&1 )
  say "$name ($3) ended with $?"
  table > /dev/null 2>&1
}

table() {
  local agree=()
  for variant in base tuned; do
    [ -d "$FAST/store-engines/models/merged-lmdeploy/evaluation/$variant" ] &&
      agree+=(--agree "shared-vllm/$variant" "merged-lmdeploy/$variant")
  done
  "$PYTHON" bench/gpu/summary.py "$FAST"/store-* ${agree[@]+"${agree[@]}"} > "$LOGS/summary.json.new" &&
    mv "$LOGS/summary.json.new" "$LOGS/summary.json"
}

# FAMILY CARD
published() {
  CUDA_VISIBLE_DEVICES=$2 "$PYTHON" bench/gpu/published_model.py "$1" --out "$SLOW/published/$1" --text "$DATA/smile/train.jsonl" $FORMS \
    >> "$LOGS/build.log" 2>&1
  say "built $1"; touch "$LOGS/built-$1"
}

# FOLDER CARD CONFIG [OPTION...]
drawn() {
  CUDA_VISIBLE_DEVICES=$2 "$PYTHON" bench/gpu/random_model.py --config "${BUILD:-$3}" --out "$1" --text "$DATA/${TEXT:-smile/train.jsonl}" \
    ${*:4} >> "$LOGS/build.log" 2>&1
  say "built $1"; touch "$LOGS/built-$(basename "$1")"
}

build() {
  mount -o "remount,size=${SHM:-190G}" /dev/shm 2>/dev/null
  [ -f "$DATA/mixed.jsonl" ] || "$PYTHON" bench/gpu/mixed_text.py "$DATA"
  ln -sfn "$SLOW/published" "$FAST/published"
  published gpt_oss 1 & a=$!
  TEXT=mixed.jsonl drawn "$FAST/qwen" 0 qwen2.5-7b --pieces "${PIECES:-12000}" & b=$!
  published chatglm3 0 & c=$!
  wait $a $b $c
  drawn "$FAST/thin" 1 qwen2.5-32b --layers 2
  drawn "$SLOW/large" 1 qwen2.5-32b ${LARGE:-}
  ln -sfn "$SLOW/large" "$FAST/large"
}

unpacked() {
  mkdir -p "/tmp/$1"
  cat "${PARTS:-/tmp/parts}/$1".tar.xz.* | xz -dc -T0 | tar -xf - -C "/tmp/$1" || { say "$1: broken"; return 3; }
  # before the machine's own, also for a program that is started without PYTHONPATH
  "$PYTHON" -c 'import site; print(site.getsitepackages()[0])' | {
    read -r own && echo "import sys; sys.path[1:1] = ['/tmp/site', '/tmp/vllm']" > "$own/benchmark.pth"; }
  "$PYTHON" -m compileall -q -j 0 "/tmp/$1" > /dev/null 2>&1
  say "unpacked $1"; touch "$LOGS/$1"
}
site() { unpacked site; }
vllm() { unpacked vllm; }

until_there() { until [ -e "$1" ]; do sleep 0.5; done; }

forms() {
  until_there "$LOGS/site"; until_there "$LOGS/built-gpt_oss"
  row published-gpt-oss 1 "train or export or deploy or eval" & a=$!
  until_there "$LOGS/built-chatglm3"
  row published-chatglm3 1 "train or export or deploy or eval or judge" & b=$!
  wait $a $b
  touch "$LOGS/forms-ended"
}

engines() {
  until_there "$LOGS/site"; until_there "$LOGS/built-qwen"
  STORE=engines row shared-vllm 0 "train"
  newest=$(ls -d "$FAST"/store-engines/models/shared-vllm/train-*/output/checkpoint-* | tail -1)
  cp -r "$newest" "$FAST/adapter"; touch "$LOGS/adapter"
  until_there "$LOGS/vllm"; [ -z "${WAIT_THIN:-}" ] || until_there "$LOGS/thin-ended"
  STORE=engines row merged-lmdeploy 1 "export" & a=$!
  STORE=engines row shared-vllm 0 "deploy or eval"
  wait $a
  STORE=engines row merged-lmdeploy 0 "export or deploy or eval"
  STORE=engines row "shared-vllm or merged-lmdeploy" 0 "train or export or deploy or eval"
  touch "$LOGS/engines-ended"
}

thin() {
  until_there "$LOGS/site"; until_there "$LOGS/built-thin"
  # weights above 40 GiB lie in parts on the cards; these are small, and shall, too
  rm -rf "$SLOW/thin-tree"; mkdir -p "$SLOW/thin-tree"
  tar -cf - --exclude=.git --exclude=.venv --exclude=.gpu . | tar -xf - -C "$SLOW/thin-tree"
  sed -i 's/^WHOLE_GIB = .*/WHOLE_GIB = 0.001/' "$SLOW/thin-tree/bakeoff/tools/memory.py"
  sed "s#$FAST/large#$FAST/thin#" "$MATRIX" > "$SLOW/thin-tree/bench/gpu/thin.yaml"
  TREE=$SLOW/thin-tree MATRIX=bench/gpu/thin.yaml STORE=thin row random-32b 0,1 "train or export" & a=$!
  until_there "$LOGS/vllm"
  if [ -z "${BUILD}" ]; then
    $PYTHON -m vllm.entrypoints.openai.api_server --model "$FAST/thin" --served-model-name thin --host 127.0.0.1 --port 8123 --dtype bfloat16 \
      --tensor-parallel-size 2 --max-model-len 2048 --gpu-memory-utilization 0.15 --enforce-eager --disable-custom-all-reduce > "$LOGS/vllm-thin.log" 2>&1 & server=$!
    for _ in $(seq 180); do
      curl -sf --noproxy '*' -m 20 -H 'Content-Type: application/json' -d '{"model":"thin","max_tokens":4,"prompt":"hi"}' \
        http://127.0.0.1:8123/v1/completions > "$LOGS/vllm-thin.json" && break
      kill -0 $server 2>/dev/null || break
      sleep 1
    done
    say "vllm on two cards: $(head -c 200 "$LOGS/vllm-thin.json")"; kill -TERM $server; wait $server
  fi
  wait $a
  touch "$LOGS/thin-ended"
}

large() {
  until_there "$LOGS/forms-ended"; until_there "$LOGS/built-large"
  rm -rf "$FAST"/store-published-*/forms "$FAST"/store-published-*/models/*/export-*/output "$FAST"/store-thin/models/*/export-* \
    "$SLOW"/published/*
  ROW_S=1200 row random-32b 0,1 "train or export or deploy or eval"
  touch "$LOGS/large-ended"
}

invariant() {
  local served=${SERVED:-$FAST/qwen}
  until_there "$LOGS/vllm"; until_there "$LOGS/built-qwen"
  for on in 0 1; do
    VLLM_BATCH_INVARIANT=$on CUDA_VISIBLE_DEVICES=${CARD:-1} setsid "$PYTHON" -m vllm.entrypoints.openai.api_server --model "$served" --served-model-name m \
      --host 127.0.0.1 --port 8124 --dtype bfloat16 --max-model-len 4096 --max-num-seqs 512 --gpu-memory-utilization 0.5 > "$LOGS/vllm-invariant-$on.log" 2>&1 & server=$!
    began=$(date +%s)
    until curl -sf --noproxy '*' -m 20 http://127.0.0.1:8124/v1/models > /dev/null; do
      kill -0 $server 2>/dev/null && [ $(( $(date +%s) - began )) -lt 240 ] || break
      sleep 0.5
    done
    say "vLLM, invariant $on: ready after $(( $(date +%s) - began )) s"
    rm -rf "$SLOW/invariant-$on"
    timeout 200 "$PYTHON" bench/gpu/evaluate.py --alone --url http://127.0.0.1:8124/v1 --model m --data "$DATA" --out "$SLOW/invariant-$on" \
      --in-flight 64 512 --ceval 10 --cmmlu 10 > "$LOGS/invariant-$on.log" 2>&1
    cp "$SLOW/invariant-$on/evaluate.json" "$LOGS/invariant-$on.json"; say "$(tail -1 "$LOGS/invariant-$on.log" | head -c 600)"
    kill -TERM -- -$server; wait $server
  done
  touch "$LOGS/invariant-ended"
}

nvidia-smi --query-gpu=timestamp,index,memory.used,utilization.gpu --format=csv,noheader,nounits -lms 1000 >> "$LOGS/memory.csv" 2>/dev/null & watch=$!
running=()
for part in "$@"; do "$part" & running+=($!); done
wait "${running[@]}"
kill $watch 2>/dev/null
say "ended: $*"
