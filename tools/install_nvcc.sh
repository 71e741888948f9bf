#!/bin/sh
# Prints the path of an nvcc of CUDA 12 or newer: that of CUDACXX, else the one on PATH, else NVIDIA's
# wheels for Python, which it puts into build/nvcc (250 MB; Debian's own nvcc is older). With --fetch it
# takes those at once.
set -eu

versions="nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
          nvidia-cuda-runtime==13.0.96"

root="$(cd "$(dirname "$0")/.." && pwd)"
folder="$root/build/nvcc"
toolkit="$folder/nvidia/cu13"

say() { echo "ptynet: $*" >&2; }

# Whether the program named is nvcc of CUDA 12 or newer.
is_new_enough() {
  release=$("$1" --version 2>/dev/null | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
  [ "${release:-0}" -ge 12 ]
}

# What the folder holds is what its file `versions` says; that is written last.
is_there() {
  [ "$(cat "$folder/versions" 2>/dev/null)" = "$versions" ] && is_new_enough "$toolkit/bin/nvcc"
}

python_with_pip() {
  for python in python3 /usr/bin/python3; do
    if "$python" -m pip --version >/dev/null 2>&1; then
      echo "$python"
      return 0
    fi
  done
  return 1
}

fetch() {
  if ! python=$(python_with_pip); then
    say "error: expected python3 with pip to fetch nvcc with, found none: install python3-pip, or name an" \
      "nvcc of CUDA 12 or newer in CUDACXX"
    return 1
  fi
  say "fetching nvcc into $folder"
  rm -rf "$folder"
  # shellcheck disable=SC2086  # the versions are words on purpose
  if ! PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --disable-pip-version-check \
    --no-deps --only-binary=:all: --target "$folder" $versions >&2; then
    rm -rf "$folder"
    say "error: pip could not fetch nvcc (see above): check the network, or name an nvcc of CUDA 12 or" \
      "newer in CUDACXX"
    return 1
  fi
  # The linker is given lib64, the wheels have lib.
  ln -s lib "$toolkit/lib64"
  printf '%s\n' "$versions" >"$folder/versions"
}

if [ "${1:-}" != "--fetch" ]; then
  if [ -n "${CUDACXX:-}" ]; then
    if is_new_enough "$CUDACXX"; then
      echo "$CUDACXX"
      exit 0
    fi
    say "error: CUDACXX: expected nvcc of CUDA 12 or newer, found '$CUDACXX': mend it, or leave it unset"
    exit 1
  fi
  if is_new_enough nvcc; then
    command -v nvcc
    exit 0
  fi
fi

is_there || fetch
if ! is_there; then
  say "error: expected $toolkit/bin/nvcc to run, but it does not: on this machine name an nvcc of CUDA 12" \
    "or newer in CUDACXX"
  exit 1
fi
echo "$toolkit/bin/nvcc"
