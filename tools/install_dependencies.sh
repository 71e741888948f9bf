#!/bin/sh
# Installs the packages of tools/packages.txt that are missing, and nothing else.
# With --list it only prints the missing ones, one a line.
set -eu

list="$(dirname "$0")/packages.txt"
packages=$(sed -e 's/#.*//' "$list" | tr -s ' \t\n' ' ')

if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
  echo "ptynet: no apt-get here: install these yourself (Debian names), then go on with SKIP_DEPS=1:" >&2
  echo "  $packages" >&2
  exit 2
fi

missing=""
for package in $packages; do
  state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = "installed" ] || missing="$missing $package"
done

if [ "${1:-}" = "--list" ]; then
  for package in $missing; do echo "$package"; done
  exit 0
fi
[ -n "$missing" ] || exit 0

echo "Installing what is missing:$missing"
if [ "$(id -u)" -eq 0 ]; then
  as_root=""
elif command -v sudo >/dev/null 2>&1; then
  as_root="sudo"
else
  echo "ptynet: neither root nor sudo: ask an administrator for: apt-get install$missing" >&2
  exit 2
fi

# shellcheck disable=SC2086  # the lists are words on purpose
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 $missing
