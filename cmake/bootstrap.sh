# Sourced by ./reducenet and ./test: installs what Debian 12 lacks and builds into build/. Everything it says goes to stderr.
set -eu
root=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
build=$root/build

packages="
  g++ cmake ninja-build pkg-config
  libtorch-dev libhwy-dev libonnx-dev libprotobuf-dev protobuf-compiler
  nlohmann-json3-dev libcli11-dev libtomlplusplus-dev libfmt-dev
  libjpeg62-turbo-dev libspng-dev libarchive-dev zlib1g-dev libzstd-dev
  libopenblas0-pthread libgtest-dev jq python3-venv libonnx-testdata dataset-fashion-mnist
  libjs-chart.js"

say() { echo "$(basename "$0"): $*" >&2; }

install_missing() {
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || return 0  # elsewhere CMake names what is missing
  installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' $packages 2>/dev/null | sed -n 's/ installed$//p')
  missing=
  for package in $packages; do
    printf '%s\n' "$installed" | grep -qx "$package" || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  say "installing by apt, once:$missing"
  $sudo apt-get update -q >&2
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing >&2
}

configure() {
  install_missing
  launcher=
  if command -v ccache >/dev/null; then launcher=-DCMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
  say "building in $build; the first time takes some minutes"
  cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DREDUCENET_BENCH=ON $launcher >&2
  touch "$build/configured"
}

# bring_up_to_date TARGET: configures the first time, and builds when a source has changed since.
bring_up_to_date() {
  mkdir -p "$build"
  (
    flock 9
    if [ ! -e "$build/configured" ] || [ "$root/cmake/bootstrap.sh" -nt "$build/configured" ]; then configure; fi
    status=$({
      { ninja -C "$build" "$1"; echo $? >&3; } |
        grep --line-buffered -vE 'Re-checking globbed|no work to do|Entering directory' >&2
    } 3>&1) || true
    [ "$status" = 0 ] || { say "the build in $build failed"; exit 1; }
  ) 9>"$build/lock"
}
