#!/bin/bash
# On a machine with an NVIDIA GPU: the cases of the hand-written kernels, then their times. Runs
# cuda_on_gpu and bench_cuda_conv from the folder given (default: this script's), leaves their full
# output in check.txt and bench.txt there or in $RESULTS, and prints a short table. Status 1 when a case
# fails or a program does.
#
#   gpu_check.sh [folder] [arguments of bench_cuda_conv]
set -uo pipefail
folder="${1:-$(dirname "$0")}"
shift || true
results="${RESULTS:-$folder}"
status=0

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || {
  echo "gpu_check: error: no usable GPU: nvidia-smi failed"
  exit 1
}

echo "== cases (full output in $results/check.txt)"
timeout 200 "$folder/cuda_on_gpu" >"$results/check.txt" 2>&1 || status=1
grep -m 10 FAILED "$results/check.txt"
grep -v FAILED "$results/check.txt" | tail -20

echo "== times (full output in $results/bench.txt)"
timeout 300 "$folder/bench_cuda_conv" "$@" >"$results/bench.txt" 2>&1 || {
  status=1
  tail -3 "$results/bench.txt"
}
head -1 "$results/bench.txt"
# Per network, batch and precision: the sum over layers, and the layer furthest from its floor.
awk '/batch/ { title = $0; worst = 1e9; next }
     / sum / { printf "%-28s suggested %9.1f us, best %9.1f us, floor %9.1f us; furthest: %s\n",
               title, $2, $3, $4, layer; next }
     /%/ { share = $0; sub(/%.*/, "", share); n = split(share, part, " ");
           if (part[n] + 0 < worst) { worst = part[n] + 0; layer = $0 } }' "$results/bench.txt"
exit $status
