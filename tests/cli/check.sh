# Sourced by the tests of the command line, after they have set tool: in a folder that goes when they end, run a command, say
# what it should print and how it should end.
tests=0 failures=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
  failures=$((failures + 1))
  printf 'FAILED: reducenet %s\n  %s\n' "$arguments" "$1"
  sed 's/^/  stdout: /' stdout | head -n 12
  sed 's/^/  stderr: /' stderr | head -n 12
}

run() {
  tests=$((tests + 1))
  arguments=$*
  "$tool" "$@" >stdout 2>stderr </dev/null
  code=$?
}

# prints PATTERN ARGUMENT…: exit 0 and PATTERN on stdout.
prints() {
  pattern=$1; shift
  run "$@"
  if [ $code -ne 0 ]; then fail "exit $code, not 0"; elif ! grep -qE -- "$pattern" stdout; then fail "no '$pattern' on stdout"; fi
}

# json FILTER ARGUMENT…: exit 0, one JSON object on stdout and nothing else, for which the jq filter holds.
json() {
  filter=$1; shift
  run "$@" --json
  if [ $code -ne 0 ]; then fail "exit $code, not 0"; elif ! jq -es "length == 1 and (.[0] | $filter)" stdout >/dev/null; then fail "not so: $filter"; fi
}

# refuses EXIT PATTERN ARGUMENT…: that exit code, PATTERN on stderr, nothing on stdout.
refuses() {
  expected=$1 pattern=$2; shift 2
  run "$@"
  if [ $code -ne "$expected" ]; then fail "exit $code, not $expected"; elif ! grep -qE -- "$pattern" stderr; then fail "no '$pattern' on stderr"; elif [ -s stdout ]; then fail "output on stdout"; fi
}

# absent FILE: what a failed command must not leave behind.
absent() { if [ -e "$1" ]; then fail "$1 was written"; fi; }

# same FILE FILE: of equal bytes.
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }

# An image of one pixel: dot.png.
make_dot() {
  base64 -d >dot.png <<'PNG'
iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==
PNG
}
