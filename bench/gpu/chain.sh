#!/usr/bin/env bash
# The whole chain at full size on one card, then the guide's evaluation lines against ours.
#   bench/gpu/chain.sh OUT [SITE.tar.xz ...]
# Needs .data/{smile/train.jsonl,ceval,cmmlu} and 64 GB of memory for /dev/shm; SITE archives hold Python packages that
# the machine lacks. Each part has a time limit and goes on without the one before it where it can.
set -u
out=$1; shift
began=$(date +%s)
say() { echo "[$(( $(date +%s) - began )) s] $*"; }
memory() { nvidia-smi --query-gpu=memory.used --format=csv,noheader; }
mkdir -p "$out" /tmp/site
for archive in "$@"; do tar -xf "$archive" -C /tmp/site || exit 3; done
export PYTHONPATH=/tmp/site:$PWD PYTHONUNBUFFERED=1 PYTORCH_ALLOC_CONF=expandable_segments:True
[ -f /dev/shm/qwen/config.json ] || python3 bench/gpu/random_model.py --out /dev/shm/qwen --text .data/smile/train.jsonl 2>&1 | tail -1
say "model; card holds $(memory)"

timeout -s INT -k 30 "${CHAIN_S:-330}" python3 -m pytest benchmarks/ --matrix bench/gpu/matrix.yaml -k "${ROWS:-random-7b}" \
  --data-dir .data --store /dev/shm/store --html=/tmp/reports/ -p no:cacheprovider > "$out/chain.log" 2>&1
say "chain: exit $?; card holds $(memory)"
tail -25 "$out/chain.log"
tar -czf "$out/reports.tgz" -C /tmp reports 2>/dev/null
(cd /dev/shm/store && find . \( -name '*.json' -o -name '*.jsonl' -o -name '*.log' \) -size -2M | tar -czf "$out/store.tgz" -T -)

[ -z "${CHAIN_ONLY:-}" ] || exit 0
merged=$(find /dev/shm/store -path '*random-7b/*' -name 'model*.safetensors' -printf '%h\n' | grep export | head -1)
merged=${merged:-/dev/shm/qwen}
started=$(date +%s)
setsid python3 -m lmdeploy serve api_server "$merged" --backend pytorch --model-name m --server-name 127.0.0.1 \
  --server-port 23333 --session-len 4096 --max-batch-size 256 --cache-max-entry-count 0.6 > "$out/server.log" 2>&1 &
server=$!
ask='{"model":"m","max_tokens":4,"messages":[{"role":"user","content":"你好"}]}'
until curl -sf --noproxy '*' -m 20 -H 'Content-Type: application/json' -d "$ask" http://127.0.0.1:23333/v1/chat/completions > "$out/first.json"; do
  kill -0 $server 2>/dev/null && [ $(( $(date +%s) - started )) -lt 150 ] || { say "no answer"; tail -20 "$out/server.log"; break; }
  sleep 0.5
done
say "first answer after $(( $(date +%s) - started )) s; card holds $(memory)"
timeout "${EVALUATE_S:-330}" python3 bench/gpu/evaluate.py --url http://127.0.0.1:23333/v1 --model m --data .data --cmmlu "${CMMLU:-30}" --out /tmp/evaluation
cp /tmp/evaluation/evaluate.json "$out/" 2>/dev/null
kill -TERM -- -$server; for _ in $(seq 60); do kill -0 -- -$server 2>/dev/null || break; sleep 0.5; done; kill -KILL -- -$server 2>/dev/null
sleep 2
say "served; card holds $(memory)"
