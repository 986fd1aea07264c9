#!/usr/bin/env bash
# Two versions of the harness's client on one vLLM with an adapter beside its base: bench/gpu/clients.sh OLD_TREE NEW_TREE
# Between any two askings the prefix cache is emptied. Writes LOGS/clients.log; see lanes.sh for the variables.
set -u
FAST=${FAST:-/dev/shm} LOGS=${LOGS:-/tmp/out} PYTHON=${PYTHON:-python3} DATA=${DATA:-.data} URL=http://127.0.0.1:8400
export VLLM_USE_FLASHINFER_SAMPLER=0 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 VLLM_SERVER_DEV_MODE=1 PYTHONUNBUFFERED=1
say() { echo "[$(date +%T)] $*" | tee -a "$LOGS/clients.log"; }
until [ -e "$LOGS/weights" ] && [ -e "$LOGS/vllm" ]; do sleep 0.5; done
began=$(date +%s)
setsid ${SERVER:-$PYTHON -m vllm.entrypoints.openai.api_server --model $FAST/qwen --served-model-name m --host 127.0.0.1 --port 8400
  --dtype bfloat16 --max-model-len 4096 --max-num-seqs 512 --gpu-memory-utilization 0.6 --disable-uvicorn-access-log
  --enable-lora --max-lora-rank 8 --lora-modules tuned=$FAST/adapter} > "$LOGS/clients-vllm.log" 2>&1 & server=$!
until curl -sf --noproxy '*' -m 20 $URL/v1/models > /dev/null; do
  kill -0 $server 2>/dev/null && [ $(( $(date +%s) - began )) -lt 260 ] || { say "no service"; exit 3; }
  sleep 0.5
done
say "service ready after $(( $(date +%s) - began )) s"
fresh() { curl -s --noproxy '*' -m 20 -X POST $URL/reset_prefix_cache > /dev/null; }
load() { fresh; say "load $*: $("$PYTHON" bench/gpu/load.py --url $URL/v1 --data "$DATA" $ROWS "$@" 2>> "$LOGS/clients.err")"; }
client() { # NAME TREE MODEL IN_FLIGHT
  fresh
  say "client $1 $3 $4: $(cd "$2" && PYTHONPATH=$2 "$PYTHON" "$HERE/bench/gpu/client_speed.py" --tree "$2" --url $URL/v1 --model "$3" --data "$DATA" \
    --out "$LOGS/client-$1-$3-$4" --in-flight "$4" $CLIENT 2>> "$LOGS/clients.err" | tail -1)"
  rm -rf "$LOGS/client-$1-$3-$4/"*/
}
HERE=$PWD ROWS=${ROWS:-} CLIENT=${CLIENT:-}
load --model m --mark "a "
client new "$2" m 512
client old "$1" m 512
load --model tuned --mark "b "
client new "$2" tuned 512
load --model m --mark "c " --max-tokens 1
client new "$2" m 1024
kill -TERM -- -$server; wait $server
say ended; touch "$LOGS/clients-ended"
