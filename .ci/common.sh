# Shared by ./run and ./test: what must be installed, and how it gets there. Sourced, not run.

say() { printf '==> %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Debian package, and how to see that its content is there when the package system cannot tell
# (another distribution, or built from source): command:NAME, header:PATH ...
build_needs=(
  g++=command:g++ cmake=command:cmake ninja-build=command:ninja pkg-config=command:pkg-config
  libuv1-dev=header:uv.h libmsgpack-cxx-dev=header:msgpack.hpp prometheus-cpp-dev=header:prometheus/registry.h
  libcctz-dev=header:cctz/time_zone.h tzdata=zone:Europe/Berlin libmicrohttpd-dev=header:microhttpd.h libcli11-dev=header:CLI/CLI.hpp libtomlplusplus-dev=header:toml++/toml.h
  libspdlog-dev=header:spdlog/spdlog.h libsqlite3-dev=header:sqlite3.h nlohmann-json3-dev=header:nlohmann/json.hpp
  libcurl4-openssl-dev=header:curl/curl.h librdkafka-dev=header:librdkafka/rdkafka.h
  libssl-dev=header:openssl/ssl.h libgnutls28-dev=header:gnutls/gnutls.h)
test_needs=(
  libgtest-dev=header:gtest/gtest.h libgmock-dev=header:gmock/gmock.h librapidcheck-dev=header:rapidcheck.h
  libbenchmark-dev=header:benchmark/benchmark.h python3=command:python3 python3-msgpack=python:msgpack
  clang-format=command:clang-format lld=command:ld.lld prometheus=command:promtool strace=command:strace
  sqlite3=command:sqlite3 openssl=command:openssl)
# A real Apache Kafka for tests/integration/kafka.
[ "${FERRY_SKIP_KAFKA:-}" = 1 ] ||
  test_needs+=(openjdk-17-jre-headless=command:java maven=command:mvn kcat=command:kcat)
# For the fuzzers.
fuzz_needs=(clang=command:clang++ libclang-rt-14-dev=fuzzer:clang++)
# Good to have; nothing is refused without them.
extras=(ccache=command:ccache graphviz=command:dot)

there() {
  case "$1" in
    command:*) command -v "${1#command:}" >/dev/null ;;
    # Debian's Python, which has Debian's modules, need not be the first one in PATH.
    python:*) /usr/bin/python3 -c "import ${1#python:}" 2>/dev/null || python3 -c "import ${1#python:}" 2>/dev/null ;;
    fuzzer:*) compgen -G "$("${1#fuzzer:}" -print-resource-dir 2>/dev/null)/lib/*/libclang_rt.fuzzer-*" >/dev/null ;;
    zone:*) [ -e "/usr/share/zoneinfo/${1#zone:}" ] ;;
    header:*)
      local folder
      for folder in /usr/include /usr/local/include /usr/include/"$(uname -m)"-linux-gnu; do
        [ -e "$folder/${1#header:}" ] && return 0
      done
      printf '#include <%s>\n' "${1#header:}" | "${CXX:-g++}" -E -x c++ - >/dev/null 2>&1 ;;
  esac
}

# Installs what is missing of the needs given; without apt, or without the right to use it, lists it and
# leaves if it is really not there.
ensure() {
  local need missing=()
  for need in "$@"; do there "${need#*=}" || missing+=("${need%%=*}"); done
  [ ${#missing[@]} -eq 0 ] && return 0
  if ! command -v apt-get >/dev/null; then
    die "these are missing (Debian's names), and there is no apt to install them: ${missing[*]}"
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "please install as root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends)
  "${install[@]}" "${missing[@]}" >/dev/null 2>&1 && return 0
  # The usual reason for a failure on a fresh machine is that it has no package lists yet.
  "${as_root[@]}" apt-get update -q >/dev/null || die "apt-get update failed; is the network there?"
  "${install[@]}" "${missing[@]}" || die "apt-get could not install ${missing[*]}; see above"
}

# Configures (the first time) and builds one preset: build_preset NAME [TARGET...].
build_preset() {
  local preset=$1 log started=$SECONDS
  shift
  mkdir -p "build/$preset"
  log="build/$preset/build.log"
  if [ ! -f "build/$preset/build.ninja" ]; then
    say "configuring $preset"
    cmake --preset "$preset" >"$log" 2>&1 || { tail -n 40 "$log" >&2; die "cmake failed; all of it is in $log"; }
  fi
  say "building $preset"
  # Two at a time in one directory would tread on each other: ./run and ./test may well be started together.
  command -v flock >/dev/null && { exec 9>"build/$preset/build.lock"; flock 9; }
  cmake --build "build/$preset" ${1:+--target "$@"} >"$log" 2>&1 ||
    { grep -E '[Ee]rror|FAILED' -A 3 "$log" | head -n 60 >&2; die "the build failed; all of it is in $log"; }
  exec 9>&-
  say "built $preset in $((SECONDS - started)) s"
}
