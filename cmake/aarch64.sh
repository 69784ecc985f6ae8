#!/bin/sh
# Cross-compiles graph and runtime for 64-bit ARM and runs the runtime's tests in qemu-user, so that the NEON kernels
# meet the oracle too. Exit code 77: it cannot be done here. The libraries come from Debian's arm64 packages, unpacked
# beside the build; the system's own package lists stay as they are.
. "$(dirname "$(readlink -f "$0")")/bootstrap.sh"
root=${root%/cmake}
work=$root/build-aarch64 sysroot=$root/build-aarch64/sysroot

skip() {
  say "skipped, no test on 64-bit ARM: $1"
  exit 77
}

# Highway and GoogleTest for arm64.
unpack_libraries() {
  [ -e "$sysroot/complete" ] && return
  mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/apt/debs" "$sysroot"
  cd "$work/apt/debs"
  apt="apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::Lists=$work/apt/lists
    -o Dir::Cache=$work/apt/cache -o APT::Sandbox::User=root"
  $apt update >&2 && $apt download libhwy-dev libhwy1 libgtest-dev >&2 || return 1
  for deb in *.deb; do dpkg-deb -x "$deb" "$sysroot"; done
  touch "$sysroot/complete"
}

command -v apt-get >/dev/null || skip "it needs Debian's packages"
(packages="g++-aarch64-linux-gnu qemu-user" install_missing) || skip "the cross compiler or qemu-user cannot be installed"
(unpack_libraries) || skip "the arm64 packages of Highway and GoogleTest cannot be fetched"
cd "$root"
cmake --preset aarch64 >&2
cmake --build --preset aarch64 >&2
ctest --preset aarch64 --no-tests=error
