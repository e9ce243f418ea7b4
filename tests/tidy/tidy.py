#!/usr/bin/env python3
"""Rules of the tree that no compiler checks. Each finding is a line `file:line: what`; exit status 1 if any.

Usage: tidy.py [--update-ratchet]
"""

import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
RATCHET = pathlib.Path(__file__).with_name("long_functions.txt")
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800
ROOMS = ("platform", "history", "wire", "secure", "http", "broker", "transport", "outbox", "consumer", "saga", "cli", "tests", "bench", "examples")

findings = []


def find(path, line, what):
    findings.append(f"{path.relative_to(ROOT) if path.is_absolute() else path}:{line}: {what}")


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, check=True, capture_output=True)
    files = (ROOT / name for name in out.stdout.decode().split("\0") if name)
    return [path for path in files if path.exists()]


TOKEN = re.compile(
    r'(?P<raw>R"\((?:.|\n)*?\)")|(?P<text>"(?:\\.|[^"\\\n])*")|(?P<char>(?<![0-9a-zA-Z_])\'(?:\\.|[^\'\\\n])+\')'
    r"|(?P<comment>//[^\n]*|/\*(?:.|\n)*?\*/)")


def code_lines(path):
    """(number, line) without comments."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0)) if match.lastgroup == "comment" else match.group(0)
    return list(enumerate(TOKEN.sub(blank, path.read_text(encoding="utf-8")).split("\n"), 1))


# --- who may include what -----------------------------------------------------------------------------------

# Pattern of an include: where it is allowed (prefixes of paths), and why nowhere else.
INCLUDE_RULES = [
    (r"<uv\.h>", ("broker/server/", "transport/src/native/", "bench/", "tests/"), "libuv is the server's and the native adapter's"),
    (r"<fcntl\.h>", ("platform/src/", "outbox/src/wake.cpp", "http/src/http_server.cpp", "cli/src/child.cpp", "cli/src/log_reader/", "cli/src/commands/", "bench/", "tests/"), "files are opened through platform/file.hpp"),
    (r"<librdkafka/.*>", ("transport/kafka/src/", "bench/", "tests/"), "librdkafka is the Kafka adapter's"),
    (r"<(?:fstream|filesystem)>", ("platform/", "cli/", "broker/main/", "broker/telemetry/src/process_figures.cpp", "bench/", "tests/"),
     "files are read and written through platform/file.hpp"),
    (r"<(?:prometheus/.*|microhttpd\.h)>", ("broker/telemetry/src/", "consumer/src/", "saga/src/", "outbox/relay/src/", "http/src/"), "telemetry and consumers hide their libraries"),
    (r"<sqlite3(?:ext)?\.h>", ("outbox/sqlite/include/ferry/sqlite/api.hpp", "bench/", "tests/"),
     "ferry/sqlite/api.hpp decides how SQLite is called"),
    (r"<toml\+\+/.*>", ("platform/toml/",), "ferry/toml.hpp decides how toml++ is built in"),
    (r"\"ferry/toml\.hpp\"", ("broker/main/src/", "saga/src/"), "only broker/main and saga read TOML"),
    (r"<cctz/.*>", ("broker/schedule/src/",), "calendars and time zones are broker/schedule's"),
    (r"<curl/.*>", ("saga/http/src/",), "HTTP calls are made by saga/http"),
    (r"<openssl/.*>", ("secure/src/", "tests/"), "cryptography is the room secure's"),
    (r"<gnutls/.*>", ("http/src/",), "only the HTTP server's library speaks it"),
    (r"<spdlog/.*>", ("broker/main/src/",), "only main.cpp decides where log lines go"),
]

# Room (longest prefix wins): the ferry/<room> headers it may include.
ARROWS = {
    "platform/": {"platform"},
    "platform/sim/": {"platform", "sim"},
    "history/": {"history", "platform"},
    "wire/": {"wire", "platform"},
    "secure/": {"secure", "platform"},
    "broker/engine/": {"engine", "wire", "platform"},
    "broker/log/": {"log", "platform"},
    "broker/telemetry/": {"telemetry", "platform"},
    "broker/schedule/": {"schedule", "platform"},
    "broker/server/": {"server", "engine", "log", "schedule", "telemetry", "secure", "wire", "platform"},
    "http/": {"http", "platform"},
    "broker/main/": {"http", "secure", "server", "engine", "log", "telemetry", "wire", "platform"},
    "transport/": {"transport", "secure", "wire", "platform"},
    "outbox/": {"outbox", "sqlite", "wire", "platform"},
    "outbox/sqlite/": {"sqlite", "platform"},
    "outbox/relay/": {"outbox", "sqlite", "transport", "wire", "platform"},
    "consumer/": {"consumer", "outbox", "sqlite", "transport", "wire", "platform"},
    "saga/": {"saga", "consumer", "outbox", "sqlite", "transport", "wire", "platform"},
    "saga/http/": {"saga_http", "saga", "platform"},
    "cli/": {"history", "http", "saga", "saga_http", "consumer", "outbox", "sqlite", "transport", "secure", "wire", "platform"},
    # Reads the log with nothing but the format page.
    "cli/src/log_reader/": set(),
}

# broker/engine is a function of its input: no clock, no dice, no threads, no order by hash or by address.
ENGINE_BANNED = [
    (r"\b(?:steady_clock|system_clock|high_resolution_clock|clock_gettime|gettimeofday|std::time|::now)\b", "reads a clock"),
    (r"\b(?:std::random_device|mt19937|rand|srand|getrandom|system_random)\b", "draws random numbers"),
    (r"\bstd::(?:thread|jthread|mutex|shared_mutex|condition_variable|atomic|async|future)\b", "knows threads"),
    (r"#include <(?:chrono|random|thread|mutex|atomic|future|condition_variable|shared_mutex)>", "includes what it must not need"),
]
RANGE_FOR = re.compile(r"\bfor\s*\([^;)]*:\s*([A-Za-z_][\w.>-]*?)\s*\)")
UNORDERED = re.compile(r"\bunordered_(?:map|set|multimap|multiset)<.*?>\s+([A-Za-z_]\w*)\s*[;{=]")


def room_of(name):
    return max((room for room in ARROWS if name.startswith(room)), key=len, default=None)


def check_includes(path, lines):
    name = str(path.relative_to(ROOT))
    room = room_of(name)
    for number, line in lines:
        match = re.match(r'\s*#\s*include\s+(["<][^">]+[">])', line)
        if not match:
            continue
        target = match.group(1)
        for pattern, allowed, why in INCLUDE_RULES:
            if re.fullmatch(pattern, target) and not name.startswith(allowed):
                find(path, number, f"{target} may not be included here: {why}")
        header = re.match(r'["<]ferry/(\w+)/', target)
        if header and room and header.group(1) not in ARROWS[room]:
            find(path, number, f"{room} may not include ferry/{header.group(1)}: arrows point down only")


def check_engine(path, lines):
    unordered = {match.group(1) for _, line in lines for match in UNORDERED.finditer(line)}
    for number, line in lines:
        for pattern, what in ENGINE_BANNED:
            if re.search(pattern, line):
                find(path, number, f"the engine {what}: it must stay a function of its input")
        match = RANGE_FOR.search(line)
        if match and match.group(1).split(".")[-1].split("->")[-1] in unordered:
            find(path, number, f"the engine walks over the unordered {match.group(1)}: its order is not the same everywhere")


# --- sizes --------------------------------------------------------------------------------------------------

def long_functions(path, lines):
    """(name, line, length) of every function over the limit. A function is a block whose head has a `(` and
    that stands in nothing but namespaces and types."""
    text = TOKEN.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), "\n".join(line for _, line in lines))
    text = re.sub(r"^[ \t]*#(?:.*\\\n)*.*$", lambda match: re.sub(r"[^\n]", " ", match.group(0)), text, flags=re.M)
    stack, head_at, line = [], 0, 1
    for at, letter in enumerate(text):
        if letter == "\n":
            line += 1
        elif letter == "{":
            head = text[head_at:at].strip()
            first = line - text[head_at:at].lstrip().count("\n")
            scope = re.search(r"\b(namespace|struct|class|union|enum|extern)\b", head) and "(" not in head
            inside = all(kind == "scope" for kind, _, _ in stack)
            kind = "scope" if scope else "function" if inside and "(" in head else "block"
            stack.append((kind, first, head))
            head_at = at + 1
        elif letter == "}":
            kind, first, head = stack.pop() if stack else ("block", line, "")
            head_at = at + 1
            if kind == "function" and line - first + 1 > FUNCTION_LINES_MAX:
                name = re.search(r"([\w:~]+)\s*\(", head)
                yield (name.group(1) if name else head), first, line - first + 1
        elif letter == ";":
            head_at = at + 1


def check_sizes(paths_and_lines, update):
    known = {}
    if RATCHET.exists():
        for row in RATCHET.read_text().splitlines():
            if row and not row.startswith("#"):
                place, length = row.rsplit(" ", 1)
                known[place] = int(length)
    found = {}
    for path, lines in paths_and_lines:
        name = str(path.relative_to(ROOT))
        if len(lines) > FILE_LINES_MAX:
            find(path, 1, f"{len(lines)} lines; split what is over {FILE_LINES_MAX}")
        for function, number, length in long_functions(path, lines):
            place = f"{name} {function}"
            found[place] = max(length, found.get(place, 0))
            if not update and length > known.get(place, FUNCTION_LINES_MAX):
                find(path, number, f"{function} has {length} lines, at most {known.get(place, FUNCTION_LINES_MAX)} are allowed")
    if update:
        head = "# Functions over 70 lines: file, name, length. Lines here may only shrink or go (tidy.py --update-ratchet).\n"
        RATCHET.write_text(head + "".join(f"{place} {length}\n" for place, length in sorted(found.items())))
    else:
        for place, length in known.items():
            if found.get(place, 0) < length:
                find(RATCHET, 1, f"{place} is down to {found.get(place, FUNCTION_LINES_MAX)} lines: run tidy.py --update-ratchet")


# --- documents ----------------------------------------------------------------------------------------------

def slug(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", "")).replace(" ", "-")


def anchors(path):
    return {slug(match.group(1)) for match in re.finditer(r"^#+ (.*)$", path.read_text(), re.M)}


def check_links():
    for path in tracked("*.md"):
        for number, line in enumerate(path.read_text().split("\n"), 1):
            for target in re.findall(r"\]\(([^)\s]+)\)", line):
                if re.match(r"[a-z]+:", target):
                    continue
                file, _, anchor = target.partition("#")
                linked = (path.parent / file).resolve() if file else path
                if not linked.exists():
                    find(path, number, f"links to {target}, which does not exist")
                elif anchor and linked.suffix == ".md" and anchor not in anchors(linked):
                    find(path, number, f"links to {target}, but no heading there is called so")


def check_guarantees():
    page = ROOT / "docs/guarantees.md"
    if not page.exists():
        return
    text = "\n".join(path.read_text(errors="replace") for path in tracked("tests/*")
                     if path.suffix in (".cpp", ".hpp", ".py") and path.parts[-2] != "tidy")
    cited = set(re.findall(r"\bG\d+\b", text))
    promised = re.findall(r"^\| \*\*(G\d+)\*\* \|", page.read_text(), re.M)
    if not promised:
        find(page, 1, "no promises found: has the table changed its form?")
    for guarantee in promised:
        if guarantee not in cited:
            find(page, 1, f"{guarantee} is cited by no test")
    for guarantee in sorted(cited - set(promised)):
        find(page, 1, f"a test cites {guarantee}, which is not promised here")
    check_faults(page, text)


def check_faults(page, tests):
    """Each fault and scenario names tests that exist, or says why it cannot arise."""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not re.match(r"\| \*\*[A-Z]\d+\*\* \|", line) or re.match(r"\| \*\*G", line) or "cannot arise" in line:
            continue
        named = re.findall(r"`(\w+)`", line.rsplit("|", 2)[1])
        if not named:
            find(page, number, "names no test")
        for name in named:
            if not re.search(rf"(?:def |,\s*){name}\b", tests):
                find(page, number, f"names the test {name}, which does not exist")


def table(page, heading):
    """Rows of the first table under `heading`, without its head."""
    text = page.read_text()
    part = text[text.index(f"## {heading}\n"):].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in part.split("\n") if line.startswith("|")]
    return rows[2:]


def check_codes():
    page = ROOT / "docs/protocol.md"
    header = (ROOT / "wire/include/ferry/wire/codes.hpp").read_text()
    header = re.sub(r'"\s+"', "", header.replace("\\\n", " "))  # a literal may be written over several lines
    pattern = re.compile(r'X\((\d+),\s*\w+,\s*"([A-Z_]+)",\s*(true|false),\s*"([^"]*)"\)')
    code = [[number, name, "yes" if retry == "true" else "no", meaning] for number, name, retry, meaning in pattern.findall(header)]
    if table(page, "Error codes") != code:
        for row in [row for row in code if row not in table(page, "Error codes")]:
            find(page, 1, f"the table of codes lacks or differs from codes.hpp: {' | '.join(row)}")
        for row in [row for row in table(page, "Error codes") if row not in code]:
            find(page, 1, f"codes.hpp does not have: {' | '.join(row)}")


def limits():
    """Name to value of every constant in limits.hpp that is arithmetic on numbers and earlier names."""
    values = {}
    text = (ROOT / "wire/include/ferry/wire/limits.hpp").read_text()
    for name, expression in re.findall(r"constexpr std::uint\d+_t (\w+) =\s*([^;]+);", text):
        plain = re.sub(r"\b(\d[\d']*)(?:ULL|UL|U)?\b", lambda m: m.group(1).replace("'", ""), " ".join(expression.split()))
        values[name] = eval(plain, {"__builtins__": {}}, dict(values))  # our own header: numbers, names, operators
    return values


def check_limits():
    page = ROOT / "docs/protocol.md"
    l = limits()
    rows = {row[0]: row[1] for row in table(page, "Limits")}
    kib, mib = 1 << 10, 1 << 20
    expected = {
        "frame, with `limits.frame_bytes`": f"{l['frame_bytes_max'] // mib} MiB (at most {l['frame_bytes_cap'] // mib} MiB)",
        "frame before hello": f"{l['frame_bytes_before_hello_max']} bytes",
        "payload": f"frame limit minus {l['message_overhead_bytes_max'] // kib} KiB",
        "messages in a publish": f"{l['messages_per_frame_max']:,}",
        "ranges in an ack, nack or extend": f"{l['ranges_per_frame_max']:,}",
        "exchange and queue name": f"1 to {l['name_bytes_max']} bytes of a-z A-Z 0-9 . _ -",
        "routing key, id, ordering key, content type, reply to, correlation id": f"{l['short_text_bytes_max']} bytes",
        "headers": f"{l['headers_max']} entries, {l['headers_bytes_max'] // kib} KiB",
        "msgpack nesting": f"{l['msgpack_depth_max']}",
        "window": f"{l['window_messages_max']:,} messages, {l['window_bytes_max'] // mib} MiB",
        "subscriptions, producers per connection": f"{l['subscriptions_per_connection_max']:,}, {l['producers_per_connection_max']}",
        "open sequences per producer": f"{l['open_sequences_max']:,}",
        "queues one message may reach": f"{l['queues_per_message_max']:,}",
    }
    if l["routing_key_bytes_max"] != l["short_text_bytes_max"]:
        find(page, 1, "the routing key has a limit of its own now: give it a row")
    for name, value in expected.items():
        if name not in rows:
            find(page, 1, f"the table of limits has no row \"{name}\"")
        elif not rows[name].startswith(value):
            find(page, 1, f"limit \"{name}\" is {value} in limits.hpp and {rows[name]} here")


# --- the rest -----------------------------------------------------------------------------------------------

def check_words(path, lines):
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if re.search(r"\b(TO[D]O|FIXME|XXX)\b(?!\(#\d+\))", line):
            find(path, number, "a TODO needs the number of its issue: TODO(#12)")


def check_headers(path, lines):
    if path.suffix == ".hpp" and not any(line.strip() == "#pragma once" for _, line in lines):
        find(path, 1, "a header begins with #pragma once")


def check_format(paths):
    tool = shutil.which("clang-format")
    if tool is None:
        print("clang-format is not installed: formatting was not checked")
        return
    for start in range(0, len(paths), 100):
        part = [str(path) for path in paths[start:start + 100]]
        out = subprocess.run([tool, "--dry-run", "-Werror", *part], cwd=ROOT, capture_output=True, text=True)
        for match in sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", out.stderr, re.M))):
            find(pathlib.Path(match), 1, "is not as clang-format would have it: clang-format -i it")


def main():
    update = "--update-ratchet" in sys.argv[1:]
    paths = [path for path in tracked("*.cpp", "*.hpp") if str(path.relative_to(ROOT)).startswith(ROOMS)]
    with_lines = [(path, code_lines(path)) for path in paths]
    for path, lines in with_lines:
        check_includes(path, lines)
        check_words(path, lines)
        check_headers(path, lines)
        if str(path.relative_to(ROOT)).startswith("broker/engine/"):
            check_engine(path, lines)
    check_sizes(with_lines, update)
    check_links()
    check_guarantees()
    check_codes()
    check_limits()
    check_format(paths)
    for finding in findings:
        print(finding)
    print(f"{len(paths)} files looked at, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
