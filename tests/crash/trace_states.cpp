// The disks that a power cut may leave of what a real ferryd did to its files, as a system call
// trace told it (trace_test.py): each is opened with the real recovery, and what clients were told
// must hold.
//
//   trace_states OPERATIONS [DIRECTORY EVERY]
//
// With a directory, one state in EVERY is written there too, with what must be found in it, for the
// real program to be started on.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <string>
#include <unordered_set>

#include "engine_driver.hpp"
#include "log_driver.hpp"

namespace ferry::crash {
namespace {

constexpr std::uint64_t goal = 300;
constexpr std::uint64_t failures_shown_max = 3;
constexpr std::string_view queue = "q";

/// What a client was told, or did, after so many operations of the disk.
struct Event {
    std::size_t from = 0;
    std::string what;  // published, confirmed, may, acked
    std::uint64_t number = 0;
};

struct Trace {
    sim::Journal journal;
    std::vector<Event> events;
};

std::shared_ptr<const std::vector<std::byte>> bytes_of(const std::string& hex) {
    auto bytes = std::make_shared<std::vector<std::byte>>(hex.size() / 2);
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    for (std::size_t i = 0; i < bytes->size(); ++i)
        (*bytes)[i] = static_cast<std::byte>(digit(hex[2 * i]) * 16 + digit(hex[2 * i + 1]));
    return bytes;
}

bool read_line(const std::string& line, Trace& trace) {
    using Kind = sim::Operation::Kind;
    std::istringstream in(line);
    std::string verb;
    std::string hex;
    sim::Operation op;
    if (!(in >> verb)) return false;
    if (verb == "told") {
        Event event{trace.journal.operations.size(), {}, 0};
        if (!(in >> event.what >> event.number)) return false;
        trace.events.push_back(std::move(event));
        return true;
    }
    if (verb == "create") {
        op.kind = Kind::create;
        in >> op.path >> op.inode;
    } else if (verb == "write") {
        op.kind = Kind::write;
        in >> op.path >> op.inode >> op.offset >> hex;
        op.bytes = bytes_of(hex);
    } else if (verb == "truncate") {
        op.kind = Kind::truncate;
        in >> op.path >> op.inode >> op.offset;
    } else if (verb == "sync") {
        op.kind = Kind::sync_data;
        in >> op.path >> op.inode;
    } else if (verb == "rename") {
        op.kind = Kind::rename;
        in >> op.path >> op.target >> op.inode;
    } else if (verb == "remove") {
        op.kind = Kind::remove;
        in >> op.path;
    } else if (verb == "mkdir") {
        op.kind = Kind::make_directory;
        in >> op.path;
    } else if (verb == "syncdir") {
        op.kind = Kind::sync_directory;
        in >> op.path;
    } else {
        return false;
    }
    trace.journal.operations.push_back(std::move(op));
    return !in.fail();
}

bool read_trace(const char* path, Trace& trace) {
    std::ifstream in(path);
    std::string line;
    for (std::size_t number = 1; std::getline(in, line); ++number) {
        if (read_line(line, trace)) continue;
        std::cerr << path << ":" << number << ": not understood: " << line.substr(0, 80) << "\n";
        return false;
    }
    return !trace.journal.operations.empty() && !trace.events.empty();
}

struct Known {
    std::set<std::uint64_t> published, confirmed, may, acked;
};

Known known_at(const Trace& trace, std::size_t point) {
    Known known;
    for (const Event& event : trace.events) {
        if (event.from > point) break;
        auto& set = event.what == "published"   ? known.published
                    : event.what == "confirmed" ? known.confirmed
                    : event.what == "may"       ? known.may
                                                : known.acked;
        set.insert(event.number);
    }
    return known;
}

std::string judge(const std::vector<std::string>& texts, const Known& known) {
    std::set<std::uint64_t> found;
    std::uint64_t last = 0;
    for (const std::string& text : texts) {
        const std::uint64_t number = std::strtoull(text.c_str(), nullptr, 10);
        const std::string name = "message " + std::to_string(number);
        if (known.published.count(number) == 0) return "PHANTOM " + name;
        if (!found.insert(number).second) return "TWICE " + name;
        if (known.acked.count(number) != 0) return "ACKED and there again: " + name;
        if (number < last) return "OUT OF ORDER " + name;
        last = number;
    }
    for (const std::uint64_t number : known.confirmed) {
        if (found.count(number) == 0 && known.may.count(number) == 0)
            return "LOST confirmed message " + std::to_string(number);
    }
    return {};
}

// Opens twice: what the first start made of it, a second one finds again.
std::string check(const sim::DiskImage& image, const Known& known) {
    sim::SimFileSystem files(image, false);
    std::vector<std::string> before;
    for (int start = 0; start < 2; ++start) {
        EngineDriver driver(files);
        if (std::string wrong = driver.open({Instant{1}, EngineDriver::begin_ms}); !wrong.empty())
            return wrong;
        driver.serve();
        const std::vector<std::string> texts = driver.texts(queue);
        if (std::string wrong = judge(texts, known); !wrong.empty()) return wrong;
        if (start == 1 && texts != before) return "a second start finds something else";
        before = texts;
    }
    return {};
}

bool save(const sim::DiskImage& image, const Known& known, const std::string& directory) {
    std::error_code failed;
    std::filesystem::create_directories(directory, failed);
    std::ofstream told(directory + "/told");
    for (const auto& [name, set] :
         {std::pair{"confirmed", &known.confirmed}, std::pair{"may", &known.may},
          std::pair{"acked", &known.acked}, std::pair{"published", &known.published}}) {
        for (const std::uint64_t number : *set) told << name << " " << number << "\n";
    }
    return image.save(directory) && told.flush().good();
}

int run(const Trace& trace, const std::string& directory, std::uint64_t every) {
    sim::CrashStates states(trace.journal, sim::Profile::weakest,
                            {.exhaustive_max = 4, .samples = 8, .states_max = 24});
    std::unordered_set<std::uint64_t> distinct;
    std::uint64_t failures = 0;
    std::uint64_t saved = 0;
    const std::size_t operations = trace.journal.operations.size();
    for (std::size_t point = 1; point <= operations; ++point) {
        const Known known = known_at(trace, point);
        states.at(point, [&](const sim::DiskImage& image, std::uint64_t hash) {
            const std::uint64_t what = known.confirmed.size() * 1009 + known.acked.size();
            if (!distinct.insert(hash ^ (what * 0x9E3779B97F4A7C15ULL)).second) return;
            const std::string wrong = check(image, known);
            if (!wrong.empty() && ++failures <= failures_shown_max) {
                std::cout << "power cut after operation " << point << " ("
                          << describe(trace.journal.operations[point - 1]) << "): " << wrong
                          << "\n what became of unsynced operations:\n"
                          << states.description() << std::endl;
            }
            if (every != 0 && distinct.size() % every == 0 &&
                !save(image, known, directory + "/" + std::to_string(saved++)))
                ++failures;
        });
    }
    std::cout << "operations=" << operations << " events=" << trace.events.size()
              << " saved=" << saved << " failures=" << failures << "\n"
              << "evidence: real-binary states reached " << distinct.size() << " of " << goal
              << std::endl;
    return failures == 0 && distinct.size() * 10 >= goal * 8 ? 0 : 1;
}

}  // namespace
}  // namespace ferry::crash

int main(int count, char** arguments) {
    ferry::crash::Trace trace;
    if ((count != 2 && count != 4) || !ferry::crash::read_trace(arguments[1], trace)) {
        std::cerr << "usage: trace_states OPERATIONS [DIRECTORY EVERY]\n";
        return 2;
    }
    const bool saves = count == 4;
    return ferry::crash::run(trace, saves ? arguments[2] : "",
                             saves ? std::strtoull(arguments[3], nullptr, 10) : 0);
}
