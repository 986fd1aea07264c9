#!/usr/bin/env bash
# Full-size runs on one card, in parts that fit a short loan of the machine; later parts use what earlier ones left in
# /dev/shm and /tmp.
#   bench/gpu/card.sh OUT PART...
# unpack    Python packages that the machine lacks, from the parts PARTS/{site,vllm,fa4}.tar.xz.* that pack.sh made, and their check
# models    random weights of Qwen2.5-7B and Llama-3.1-8B
# published random weights of the families FORMS (chatglm3 internlm2 baichuan2 gpt_oss) in their published forms, in
#           /dev/shm/published; what they were converted from and to before makes room
# train     the guide's flags and ours on the same dialogues (train_speed.py), for the model in MODEL
# train2    on CARDS cards (2) of one host: a 7B row against one card, and a 32B shape whose weights lie in parts on them
# chain     the rows ROWS of bench/gpu/matrix.yaml through pytest with WORKERS workers, in at most CHAIN_S seconds; its store is STORE
# serve     the engine ENGINE (lmdeploy or vllm) alone on the first row's merged weights: seconds to its first answer, and
#           until the memory is back
# evaluate  the same, with the guide's evalscope lines against ours while it runs (evaluate.py)
# Needs .data/{smile/train.jsonl,ceval,cmmlu} and memory for /dev/shm, which becomes as large as SHM (110G).
set -u
out=$1; shift
began=$(date +%s)
say() { echo "[$(( $(date +%s) - began )) s] $*"; }
memory() { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits; }
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1 PYTORCH_ALLOC_CONF=expandable_segments:True
export VLLM_USE_FLASHINFER_SAMPLER=0 # pack.sh leaves flashinfer out, and vLLM imports it unless told not to
mkdir -p "$out" /tmp/site /tmp/vllm /tmp/fa4
nvidia-smi --query-gpu=timestamp,memory.used --format=csv,noheader,nounits -lms 1000 > "$out/memory.csv" & watch=$!
trap 'kill $watch' EXIT
say "$(nvidia-smi --query-gpu=name,memory.total --format=csv,noheader), holds $(memory) MiB"

unpack() {
  for kind in site vllm fa4; do
    ls "${PARTS:-.gpu}/$kind".tar.xz.* > /dev/null 2>&1 || continue
    cat "${PARTS:-.gpu}/$kind".tar.xz.* | xz -dc -T0 | tar -xf - -C "/tmp/$kind" || exit 3
  done
  # before the machine's own, also for a program that is started without PYTHONPATH, as those of another environment are
  python3 -c 'import site; print(site.getsitepackages()[0])' | {
    read -r own && echo "import sys; sys.path[1:1] = ['/tmp/fa4', '/tmp/fa4/nvidia_cutlass_dsl/dsl_packages', '/tmp/site', '/tmp/vllm']" > "$own/benchmark.pth"; }
  python3 -c 'import evalscope.run, swift, lmdeploy, liger_kernel; from evalscope.report import gen_html_report_file' || exit 3
}

models() {
  mount -o "remount,size=${SHM:-110G}" /dev/shm 2>/dev/null
  for pair in qwen:qwen2.5-7b llama:llama3.1-8b; do
    [ -f "/dev/shm/${pair%%:*}/config.json" ] ||
      python3 bench/gpu/random_model.py --config "${pair#*:}" --out "/dev/shm/${pair%%:*}" --text .data/smile/train.jsonl 2>&1 | tail -1
  done
}

published() {
  mount -o "remount,size=${SHM:-110G}" /dev/shm 2>/dev/null
  rm -rf /dev/shm/published /dev/shm/store/forms /dev/shm/store/models/published-*
  for family in ${FORMS:-chatglm3}; do
    python3 bench/gpu/published_model.py "$family" --out "/dev/shm/published/$family" --text .data/smile/train.jsonl ${LAYERS:+--layers $LAYERS} 2>&1 | tail -1
  done
}

train() {
  python3 bench/gpu/train_speed.py --model "${MODEL:-/dev/shm/qwen}" --data .data/smile/train.jsonl --out "$out/train" ${TRAIN:---steps 12 ours guide}
  tar -czf "$out/train.tgz" -C "$out" train; rm -rf "$out/train"
}

train2() {
  cards=${CARDS:-2}
  mount -o remount,size=200G /dev/shm 2>/dev/null
  for pair in ${SHAPES:-qwen:qwen2.5-7b large:qwen2.5-32b}; do
    model=/dev/shm/${pair%%:*}
    [ -f "$model/config.json" ] ||
      python3 bench/gpu/random_model.py --config "${pair#*:}" --out "$model" --text .data/smile/train.jsonl 2>&1 | tail -1
    case $pair in
      large:*) python3 bench/gpu/several_cards.py --model "$model" --data .data/smile/train.jsonl --out "$out/train2" \
        --steps 6 --warm-up 2 --batch 2 --effective 8 "$cards" ;;
      *) python3 bench/gpu/several_cards.py --model "$model" --data .data/smile/train.jsonl --out "$out/train2" 1 "$cards" ;;
    esac
  done
}

chain() {
  timeout -s INT -k 30 "${CHAIN_S:-540}" python3 -m pytest benchmarks/ --matrix bench/gpu/matrix.yaml -k "${ROWS:-random}" \
    ${WORKERS:+-n $WORKERS} --data-dir .data --store "${STORE:-/dev/shm/store}" --html=/tmp/reports/ -p fixtures.options -p no:cacheprovider > "$out/chain.log" 2>&1
  say "pytest ended with $?; card holds $(memory) MiB"
  tail -40 "$out/chain.log"
  tar -czf "$out/reports.tgz" -C /tmp reports 2>/dev/null
  (cd "${STORE:-/dev/shm/store}" && find . \( -name '*.json' -o -name '*.jsonl' -o -name '*.log' \) -size -2048k | tar -czf "$out/store.tgz" -T -)
}

serve() {
  merged=$(find /dev/shm/store -path '*random-qwen/export*' -name 'model*.safetensors' -printf '%h\n' 2>/dev/null | head -1)
  before=$(memory) started=$(date +%s%N)
  case ${ENGINE:-lmdeploy} in
    lmdeploy) line="lmdeploy serve api_server ${merged:-/dev/shm/qwen} --backend pytorch --model-name m --server-name 127.0.0.1
      --server-port 23333 --session-len 4096 --max-batch-size 512 --cache-max-entry-count 0.6" ;;
    vllm) line="vllm.entrypoints.openai.api_server --model ${merged:-/dev/shm/qwen} --served-model-name m --host 127.0.0.1
      --port 23333 --max-model-len 4096 --max-num-seqs 512 --gpu-memory-utilization 0.6" ;;
  esac
  setsid python3 -m $line > "$out/server.log" 2>&1 &
  server=$!
  ask='{"model":"m","max_tokens":4,"messages":[{"role":"user","content":"你好"}]}'
  until curl -sf --noproxy '*' -m 20 -H 'Content-Type: application/json' -d "$ask" http://127.0.0.1:23333/v1/chat/completions > "$out/first.json"; do
    kill -0 $server 2>/dev/null && [ $(( ($(date +%s%N) - started) / 1000000000 )) -lt 240 ] || { say "no answer"; tail -20 "$out/server.log"; exit 4; }
    sleep 0.5
  done
  say "served: first answer after $(( ($(date +%s%N) - started) / 1000000 )) ms; card holds $(memory) MiB"
  [ -z "${1:-}" ] || "$1"
  ended=$(date +%s%N)
  kill -TERM -- -$server
  until [ "$(memory)" -le "$before" ]; do [ $(( ($(date +%s%N) - ended) / 1000000000 )) -lt 60 ] || break; sleep 0.1; done
  say "served: $before MiB before, $(memory) MiB $(( ($(date +%s%N) - ended) / 1000000 )) ms after SIGTERM"
  kill -KILL -- -$server 2>/dev/null
}

compare() {
  timeout "${EVALUATE_S:-480}" python3 bench/gpu/evaluate.py --url http://127.0.0.1:23333/v1 --model m --data .data --out "/tmp/evaluation-$began" ${EVALUATE:-}
  cp "/tmp/evaluation-$began/evaluate.json" "$out/" 2>/dev/null
  (cd "/tmp/evaluation-$began" && tar -czf "$out/evaluate-logs.tgz" ./*.log)
  tail -3 "$out/server.log"
}

for part in "$@"; do
  if [ "$part" = evaluate ]; then serve compare; else "$part"; fi
  say "$part done"
done
