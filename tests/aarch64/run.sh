#!/usr/bin/env bash
# run.sh CONVERTER PYTHON: a slice of the runtime's tests with the real aarch64 wheels, emulated on an x86-64 machine as the
# processors of a Raspberry Pi Zero 2 W, 4 and 5; with bundles made here, on x86-64, by the environment whose python is
# CONVERTER. PYTHON fetches the wheels.
#
# qemu emulates one process; the rest is Debian's Python for arm64, unpacked into a directory. Results, kernels and facts
# about the processor are what the boards have; times and memory are not. Where the packages cannot be had this says so
# and succeeds; with CI=true in the environment that is an error.
set -euo pipefail
converter=$1 python=$2
top=$(cd "$(dirname "$0")/../.." && pwd)
room=$top/.venvs/aarch64
root=$room/root
unset PYTHONPATH

give_up() {
  echo "aarch64 is not emulated: $1" >&2
  if [ "${CI:-}" = true ]; then exit 1; fi
  exit 0
}

[ "$(uname -sm)" = "Linux x86_64" ] || give_up "this takes an x86-64 Linux machine, and this is $(uname -sm)"

emulator() { # a static qemu-aarch64: of qemu-user-static, or of qemu-user where that is static itself
  local package reason found
  for package in qemu-user-static qemu-user; do
    rm -rf "$room/emulator"
    reason=$("$top/tests/debian-packages" --alone amd64 "$room/emulator" $package 2>&1) || continue
    for found in "$room"/emulator/usr/bin/qemu-aarch64{-static,}; do
      if [ -f "$found" ] && "$found" --version > /dev/null 2>&1; then
        cp "$found" "$room/qemu-aarch64" && rm -rf "$room/emulator"
        return
      fi
    done
    reason="$package has no static emulator"
  done
  give_up "$reason"
}

setup() {
  local reason version
  rm -rf "$room" && mkdir -p "$root/proc"
  echo "unpacking an emulator, and Python for arm64" >&2
  emulator
  reason=$("$top/tests/debian-packages" arm64 "$root" python3 libstdc++6 2>&1) || give_up "$reason"
  version=$(basename "$(echo "$root"/usr/bin/python3.*)")
  version=${version#python}
  [ -x "$root/usr/bin/python$version" ] || give_up "Debian's Python was not found"
  echo "$version" > "$room/version"
  "$python" "$top/tests/requirements.py" "$top/pyproject.toml" cpu > "$room/requirements.txt"
  fetch "$version" "$root/opt/site" -r "$room/requirements.txt" 'onnx>=1.19' pytest hypothesis
  touch "$room/ready.stamp"
}

fetch() { # VERSION DIRECTORY ARGUMENT...: wheels for that Python on aarch64; Raspberry Pi OS 12 has glibc 2.36
  local version=$1 directory=$2 platform platforms=()
  shift 2
  for platform in 35 34 31 28 27 26 24 17; do platforms+=(--platform "manylinux_2_${platform}_aarch64"); done
  "$python" -m pip --disable-pip-version-check install --quiet --no-compile --upgrade --target "$directory" \
    "${platforms[@]}" --platform manylinux2014_aarch64 --only-binary=:all: --implementation cp \
    --python-version "$version" --abi "cp${version/./}" --abi abi3 --abi none "$@"
}

cpuinfo() { # PART VARIANT REVISION FEATURES MODEL: of four cores, as the board's kernel writes it
  local core
  for core in 0 1 2 3; do
    printf 'processor\t: %s\nBogoMIPS\t: 108.00\nFeatures\t: %s\nCPU implementer\t: 0x41\nCPU architecture: 8\n' "$core" "$4"
    printf 'CPU variant\t: %s\nCPU part\t: %s\nCPU revision\t: %s\n\n' "$2" "$1" "$3"
  done
  printf 'Revision\t: 902120\nSerial\t\t: 0000000000000000\nModel\t\t: %s\n' "$5"
}

board() { # NAME: a python of that board, and what its /proc/cpuinfo says; onnxruntime chooses its kernels by both
  local cpu v80="fp asimd evtstrm crc32 cpuid"
  local v82="fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
  case $1 in
    pi-zero-2w) cpu=cortex-a53; cpuinfo 0xd03 0x0 4 "$v80" "Raspberry Pi Zero 2 W Rev 1.0" ;;
    pi-4) cpu=cortex-a72; cpuinfo 0xd08 0x0 3 "$v80" "Raspberry Pi 4 Model B Rev 1.5" ;;
    pi-5) cpu=cortex-a76; cpuinfo 0xd0b 0x4 1 "$v82" "Raspberry Pi 5 Model B Rev 1.0" ;;
  esac > "$root/proc/cpuinfo"
  mkdir -p "$room/bin"
  cat > "$room/bin/$1" << SCRIPT
#!/bin/sh
PYTHONPATH="$root/opt/ortolan:$root/opt/site" exec "$room/qemu-aarch64" -L "$root" -cpu $cpu "$root/usr/bin/python$version" "\$@"
SCRIPT
  chmod +x "$room/bin/$1"
}

ulimit -c 0
if [ ! -e "$room/ready.stamp" ] || [ "$top/pyproject.toml" -nt "$room/ready.stamp" ] || [ "$0" -nt "$room/ready.stamp" ]; then
  setup
fi
version=$(cat "$room/version")
rm -rf "$root/opt/ortolan"
"$python" -m pip --disable-pip-version-check install --quiet --no-compile --no-deps --target "$root/opt/ortolan" \
  --ignore-requires-python "$top"/dist/*.whl

bundles=$(mktemp -d "${TMPDIR:-/tmp}/ortolan-bundles.XXXXXX")
trap 'rm -rf "$bundles"' EXIT
for maker in oldest providers aarch64; do
  (cd "$bundles" && env -u PYTHONPATH "$top/$converter" "$top/tests/$maker/make_bundles.py" "$bundles" 2> "$bundles/log") \
    || { cat "$bundles/log" >&2; exit 1; }
done

for name in pi-zero-2w pi-4 pi-5; do
  board $name
  echo "$name:"
  ORTOLAN_TEST_BOARD=$name ORTOLAN_TEST_BUNDLES=$bundles "$top/tests/away" "$room/bin/$name" -q tests/aarch64
done
# The whole of the engine's sessions once more where the kernels differ most from x86-64's.
ORTOLAN_TEST_BOARD=pi-5 "$top/tests/away" "$room/bin/pi-5" -q \
  tests/engine/test_session.py tests/engine/test_binding.py tests/engine/test_failures.py
