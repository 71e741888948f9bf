#!/bin/bash
# What a machine with an NVIDIA GPU shows, in parts of less than eight minutes each:
#
#   gpu_check.sh correctness|sanitize|speed|learn|baseline|soak|rehearse [folder]
#
#   correctness  the kernels' cases on the device; the demo there beside the CPU
#   sanitize     the cases under compute-sanitizer
#   speed        times of the kernels and of the networks
#   learn        times of steps of fine-tuning in each precision, and of training on simulated patterns
#   baseline     PyTorch's times (needs torch, and PTYNET_REFERENCE with torch_reference.py)
#   soak         sessions of random shapes made and destroyed, the same job again and again: same bytes, no
#                more memory
#   rehearse     what can be tried without a GPU: that programs, libraries and files are found
#
# The folder (default: this script's) is check/ of an unpacked archive, or a build folder. Everything goes to
# PART.txt in $RESULTS (default: folder/results), of which stdout has the ends of long outputs; the choices that
# were timed stay there too. A part that is killed leaves the output of its last step in PART.step. Status 1 when
# a step failed, ran out of time or could not be done. Shorter: PART_SECONDS, BASELINE_MINUTES, SOAK_SECONDS.
set -uo pipefail

part="${1:-}"
here="$(cd "$(dirname "$0")" && pwd)"
folder="$(cd "${2:-$here}" && pwd)" || exit 2
results="${RESULTS:-$folder/results}"
work="$(mktemp -d)" || exit 1
output="$results/$part.step" # of the last step
trap 'rm -rf "$work"' EXIT
export PTYNET_CACHE="${PTYNET_CACHE:-$results}"
export PTYNET_REQUIRE_CUDA=1 # tests that find no device fail

readonly PART_SECONDS="${PART_SECONDS:-460}" BASELINE_MINUTES="${BASELINE_MINUTES:-6}" SOAK_SECONDS="${SOAK_SECONDS:-300}"
readonly LINES_SHOWN=25
readonly MOST_GROWTH_MIB=64
# Of the soak; the tests have no time for as much.
readonly SAMPLE_SECONDS="${SAMPLE_SECONDS:-1}" SOAK_RUNS="${SOAK_RUNS:-1000}"
status=0
summary=()

# To stdout and to the report.
say() { printf '%s\n' "$@" | tee -a "$report"; }

# At once, and again at the end.
note() {
  say "$*"
  summary+=("$*")
}

loud() {
  say "" "*** $*" ""
  summary+=("*** $*")
  status=1
}

# step NAME SECONDS COMMAND...: runs it for so long at most, and no longer than the part has left.
step() {
  local name="$1" limit="$2" left=$((PART_SECONDS - SECONDS)) begin=$SECONDS code skipped
  shift 2
  if [ "$left" -lt 5 ]; then
    loud "$name: left out, no time left"
    return 1
  fi
  say "=== $name"
  timeout -k 5 $((limit < left ? limit : left)) "$@" >"$output" 2>&1
  code=$?
  cat "$output" >>"$report"
  tail -n "$LINES_SHOWN" "$output"
  case $code in
    0) note "ok, $((SECONDS - begin)) s: $name" ;;
    77) # the tests' code for cases that this build or device cannot run
      skipped="$(grep SKIPPED "$output")"
      note "ok, $((SECONDS - begin)) s: $name; SKIPPED: $(wc -l <<<"$skipped")"
      say "$skipped"
      code=0
      ;;
    124 | 137) loud "$name: stopped after $((SECONDS - begin)) s, not finished" ;;
    *)
      grep -m 5 FAILED "$output"
      loud "$name: FAILED with status $code"
      ;;
  esac
  return "$code"
}

# The first of the places where an archive, a build folder or the source tree has a file.
find_file() {
  local place
  for place in "$folder" "$folder/bin" "$folder/../bin" "$here/../benchmarks" "$here/../examples"; do
    if [ -e "$place/$1" ]; then
      echo "$place/$1"
      return 0
    fi
  done
  return 1
}

# expect NAME: its path in $found; a loud line where it is not there.
expect() {
  if ! found="$(find_file "$1")"; then
    loud "$1: not found in $folder or beside it; build it with -DPTYNET_CUDA=ON, or unpack the archive anew"
    return 1
  fi
}

# NVIDIA's libraries often come inside a Python environment, where the loader does not look.
find_cuda_libraries() {
  local roots library path
  roots="$(python3 -c 'import nvidia; print(*nvidia.__path__, sep="\n")' 2>/dev/null)
$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib") + "/nvidia")' 2>/dev/null)
/usr/local
/opt"
  for library in libcudnn.so.9 'libcublasLt.so.1[23]' 'libcufft.so.1[12]'; do
    ldconfig -p 2>/dev/null | grep -q "$library" && continue
    path="$(while read -r root; do
      [ -d "$root" ] && find -L "$root" -maxdepth 6 -name "$library" 2>/dev/null
    done <<<"$roots" | head -1)"
    if [ -n "$path" ]; then
      say "$library: $path"
      LD_LIBRARY_PATH="$(dirname "$path")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    else
      say "$library: not found on the loader's path, in python3's packages, /usr/local or /opt"
    fi
  done
  export LD_LIBRARY_PATH
}

can_use() { # cpu|cuda
  grep -A 1 "device: $1" "$work/devices" | grep -q 'usable: yes'
}

# Whether ptynet computes on the GPU; $ptynet is its path.
has_backend() {
  expect ptynet || return 1
  ptynet="$found"
  timeout 60 "$ptynet" info --devices >"$work/devices" 2>&1
  if ! can_use cuda; then
    say "$(<"$work/devices")"
    loud "ptynet itself can use no CUDA device here: its steps are left out"
    return 1
  fi
}

reconstruct() { # DEVICE OUTPUT SECONDS
  expect demo/scan.cxi || return 1
  local demo="${found%/*}"
  step "the demo on $1" "$3" "$ptynet" reconstruct "$demo/scan.cxi" --weights "$demo/ptynet-s.h5" \
    --device "$1" --output "$2.h5" --png "$2" --quiet
}

correctness() {
  expect cuda_on_gpu && step "the kernels' cases" 200 "$found"
  if found="$(find_file test_cuda_session)"; then
    step "sessions and trainers" 100 "$found" "~[slow]"
    step "the five networks, and more that takes long" 250 "$found" "[slow]~[soak]"
  fi
  has_backend || return
  reconstruct cuda "$work/cuda" 60 || return
  can_use cpu && reconstruct cpu "$work/cpu" 60
  step "beside the truth" 60 "$ptynet" evaluate "$work"/c*.h5 --border 32 \
    --truth-amplitude "${found%/*}/truth.npz:amplitude" --truth-phase "${found%/*}/truth.npz:phase"
}

sanitize() {
  local sanitizer tool
  sanitizer="$(PATH="$PATH:/usr/local/cuda/bin" command -v compute-sanitizer)"
  if [ -z "$sanitizer" ]; then
    loud "compute-sanitizer is MISSING on this machine: nothing was sanitized"
    return
  fi
  expect cuda_on_gpu || return
  for tool in memcheck racecheck synccheck initcheck; do
    step "$tool" 200 "$sanitizer" --tool "$tool" --error-exitcode 9 "$found"
    if grep -qiE 'device not supported|not supported on this|unable to (launch|attach)' "$output"; then
      loud "compute-sanitizer is REFUSED by this machine: nothing was sanitized"
      return
    fi
  done
}

# Per network, batch and precision: the sum over layers, and the layer furthest from its floor.
kernel_times() {
  awk '/batch/ { title = $0; worst = 1e9; next }
       / sum / { printf "%-28s suggested %9.1f us, best %9.1f us, floor %9.1f us; furthest: %s\n",
                 title, $2, $3, $4, layer; next }
       /%/ { share = $0; sub(/%.*/, "", share); n = split(share, part, " ");
             if (part[n] + 0 < worst) { worst = part[n] + 0; layer = $0 } }' "$1"
}

speed() {
  local network batch precision
  has_backend || return
  # open_s of the first two: without and with choices.
  for network in ptynet-s ptynet-b; do
    times_of "$network" fp16 1 patches
    times_of "$network" fp16 1 patches --layers
    times_of "$network" fp16 1024 device --layers
    times_of "$network" fp16 1024 canvas
  done
  for precision in bf16 tf32 fp32; do
    times_of ptynet-s "$precision" 1 patches
    times_of ptynet-s "$precision" 256 device
  done
  for batch in 16 64 256; do times_of ptynet-s fp16 "$batch" device; done
  if expect bench_cuda_conv; then
    step "times of the convolutions" 240 "$found"
    say "$(kernel_times "$output")"
  fi
}

# The first run of each network and precision also times the ways to compute each convolution.
learn() {
  local network precision
  has_backend || return
  for precision in tf32 bf16 fp32 fp16; do
    for network in ptynet-s ptynet-b; do
      step "fine-tuning $network, $precision, batch 16" 150 "$ptynet" bench --finetune --architecture "$network" \
        --precision "$precision" --batch 16 --device cuda --seconds 2 --no-peak --layers
    done
  done
  # How long patterns take beside the training on them: simulated_seconds of seconds.
  step "training on simulated patterns" 60 "$ptynet" train --architecture ptynet-s --minutes 0.3 --held-out 64 --noise \
    poisson:1e4:1e6 --probe-jitter 2,0,0.1 --device cuda --precision tf32 --output "$work/trained.h5" --json --quiet
}

times_of() { # NETWORK PRECISION BATCH PATH [OPTION...]
  local network="$1" precision="$2" batch="$3" path="$4"
  shift 4
  step "$network, $precision, batch $batch, $path" 150 "$ptynet" bench --architecture "$network" --precision "$precision" \
    --batch "$batch" --path "$path" --frame-type u16 --device cuda --seconds 2 --no-peak "$@"
}

baseline() {
  expect torch_cuda.py || return
  step "PyTorch" "$PART_SECONDS" python3 "$found" --minutes "$BASELINE_MINUTES" --output "$results/torch.json"
}

memory_used() { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits | head -1; }

# The least MiB in use in one quarter (1 to 4) of the samples, but for the last, when the program may have ended:
# what stays between two sessions.
least_memory() { # QUARTER
  local count
  count=$(($(wc -l <"$work/memory") - 3))
  sed -n "$((($1 - 1) * count / 4 + 1)),$(($1 * count / 4))p" "$work/memory" | sort -n | head -1
}

# While the program runs, since all its memory is gone when it ends. The first quarter begins before it.
random_sessions() {
  local sampler early late
  expect test_cuda_session || return
  while memory_used; do sleep "$SAMPLE_SECONDS"; done >"$work/memory" &
  sampler=$!
  step "sessions of random shapes" $((SOAK_SECONDS + 30)) env PTYNET_SOAK_SECONDS="$SOAK_SECONDS" "$found" "[soak]"
  kill "$sampler"
  wait "$sampler" 2>/dev/null
  early="$(least_memory 2)" late="$(least_memory 4)"
  note "least memory of the device in use, early and late: ${early:=none}, ${late:=none} MiB"
  if ! [ "$late" -le $((early + MOST_GROWTH_MIB)) ]; then
    loud "sessions of random shapes leave memory behind: $early MiB early, $late MiB late"
  fi
}

soak() {
  local runs=0
  has_backend || return
  random_sessions
  reconstruct cuda "$work/first" 60 || return
  while [ "$SECONDS" -lt $((PART_SECONDS - 60)) ] && [ "$runs" -lt "$SOAK_RUNS" ]; do
    reconstruct cuda "$work/again" 60 >/dev/null || return
    runs=$((runs + 1))
    if ! diff -r "$work/first" "$work/again"; then
      loud "run $runs of the same job gave other pictures than the first"
      return
    fi
  done
  note "$((runs + 1)) runs of one job, all with the same pictures"
}

rehearse() {
  local name
  for name in cuda_on_gpu bench_cuda_conv test_cuda_session ptynet ../lib/libptynet_cuda.so; do
    expect "$name" || continue
    step "libraries of $name" 10 ldd "$found"
    ! grep 'not found' "$output" || loud "$name: the loader finds not all of its libraries"
  done
  expect torch_cuda.py && step "torch_cuda.py reads" 60 python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$found"
  [ -e "${PTYNET_REFERENCE:-}/torch_reference.py" ] ||
    note "baseline would be left out: PTYNET_REFERENCE names no folder with torch_reference.py"
  expect ptynet || return
  ptynet="$found"
  step "devices" 30 "$ptynet" info --devices && cp "$output" "$work/devices"
  can_use cpu && reconstruct cpu "$work/cpu" 120
}

main() {
  say "$(date -u)"
  find_cuda_libraries
  if [ "$part" != rehearse ] && ! gpu="$(timeout 30 nvidia-smi \
    --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1)"; then
    loud "no usable GPU: nvidia-smi is missing or fails; nothing was run (rehearse tries what needs no GPU)"
  else
    say "${gpu:-no GPU asked for}"
    "$part"
  fi
  rm -f "$output"
  say "" "--- $part, $SECONDS s, full output in $report" "${summary[@]}"
  return "$status"
}

case "$part" in
  correctness | sanitize | speed | learn | baseline | soak | rehearse) ;;
  *)
    sed -n '2,18s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
mkdir -p "$results" || exit 1
report="$results/$part.txt"
: >"$report"
main
