// ferry_sim: the broker and its clients over a simulated platform. See README.md.

#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/history/checker.hpp"
#include "simulation.hpp"

namespace ferry::simulation {
namespace {

constexpr std::uint64_t twice_every = 100;  // seeds: of these one is run again and compared
constexpr std::uint64_t failures_shown_max = 5;

volatile std::uint64_t current_seed = 0;

// An assertion ends the process: which seed it was must not be lost with it.
extern "C" void say_seed(int signal) {
    char text[96];
    const int size = std::snprintf(text, sizeof text, "\nrepeat with: ferry_sim --seed %llu\n",
                                   static_cast<unsigned long long>(current_seed));
    if (size > 0 && write(STDERR_FILENO, text, static_cast<std::size_t>(size)) < 0) _exit(70);
    ::signal(signal, SIG_DFL);
    ::raise(signal);
}

struct Request {
    struct Seed {
        std::uint64_t seed = 0;
        Diet diet;
    };
    std::vector<Seed> seeds;
    std::uint64_t from = 0, count = 0;
    std::string file;  // seeds, one a line
    std::string history_to;
    Diet diet;  // of all but those of the file
    bool shrink = false;
    bool first = false;  // failure ends it
    bool canary = false;
    bool verbose = false;
    bool talkative = false;
};

struct Sum {
    std::uint64_t seeds = 0, failures = 0, twice = 0, events = 0, operations = 0, crashes = 0;
    std::uint64_t virtual_s = 0;
};

void report(std::uint64_t seed, const Diet& from, const Outcome& outcome, const Request& request) {
    std::printf("FAILED seed %llu\n%s  last events:\n%s%s\n", static_cast<unsigned long long>(seed),
                outcome.swarm.c_str(), outcome.last_events.c_str(), outcome.failure.c_str());
    const std::string diet = text_of(from);
    std::printf("repeat with: ferry_sim --seed %llu%s%s\n", static_cast<unsigned long long>(seed),
                diet.c_str(), request.canary ? " --canary" : "");
    if (request.shrink) {
        const Diet small = shrink(seed, from);
        std::printf("smallest that fails: ferry_sim --seed %llu%s\n",
                    static_cast<unsigned long long>(seed), text_of(small).c_str());
    }
    std::fflush(stdout);
}

void run_one(std::uint64_t seed, const Diet& diet, const Request& request, bool twice, Sum& sum) {
    current_seed = seed;
    Outcome outcome = simulate(seed, diet, request.canary, request.talkative);
    if (twice) {
        ++sum.twice;
        const Outcome again = simulate(seed, diet, request.canary);
        if (again.trace_hash != outcome.trace_hash || again.history != outcome.history)
            outcome.failure += "the same seed went another way the second time\n";
    }
    ++sum.seeds;
    sum.events += outcome.events;
    sum.operations += outcome.operations;
    sum.crashes += outcome.crashes;
    sum.virtual_s += outcome.virtual_ns / second;
    if (request.verbose) {
        std::printf("seed %llu trace %016llx events %llu\n%s",
                    static_cast<unsigned long long>(seed),
                    static_cast<unsigned long long>(outcome.trace_hash),
                    static_cast<unsigned long long>(outcome.events), outcome.swarm.c_str());
    }
    if (!request.history_to.empty()) {
        std::ofstream out(request.history_to);
        for (const history::Event& event : outcome.history) out << history::text_of(event) << "\n";
    }
    if (outcome.failure.empty()) return;
    if (++sum.failures <= failures_shown_max) report(seed, diet, outcome, request);
}

bool number(std::string_view text, std::uint64_t& out) {
    const int base = text.starts_with("0x") ? 16 : 10;
    if (base == 16) text.remove_prefix(2);
    const auto done = std::from_chars(text.data(), text.data() + text.size(), out, base);
    return done.ec == std::errc{} && done.ptr == text.data() + text.size();
}

/// Calls `with` for each part between commas; false from it ends that.
template <class F>
bool each_part(std::string_view list, F&& with) {
    while (!list.empty()) {
        const std::string_view part = list.substr(0, list.find(','));
        list.remove_prefix(std::min(list.size(), part.size() + 1));
        if (!with(part)) return false;
    }
    return true;
}

bool read_without(std::string_view list, Diet& diet) {
    return each_part(list, [&](std::string_view name) {
        for (std::size_t i = 0; i < fault_count; ++i) {
            if (name != name_of(static_cast<Fault>(i))) continue;
            diet.without |= 1U << i;
            return true;
        }
        for (std::size_t i = 0; i < feature_count; ++i) {
            if (name != name_of(static_cast<Feature>(i))) continue;
            diet.without_features |= 1U << i;
            return true;
        }
        return false;
    });
}

bool read_skip(std::string_view list, Diet& diet) {
    return each_part(list, [&](std::string_view text) {
        std::uint64_t value = 0;
        if (!number(text, value)) return false;
        diet.skipped.insert(static_cast<std::uint32_t>(value));
        return true;
    });
}

bool read_divide(std::string_view text, Diet& diet) {
    const std::size_t at = text.find('=');
    std::uint64_t value = 0;
    if (at == std::string_view::npos || !number(text.substr(at + 1), value) || value == 0)
        return false;
    const std::string_view name = text.substr(0, at);
    if (name == "actors") {
        diet.actors_divisor = static_cast<std::uint32_t>(value);
    } else if (name == "messages") {
        diet.messages_divisor = static_cast<std::uint32_t>(value);
    } else {
        return false;
    }
    return true;
}

/// What a run leaves out. False: `option` is none of these, or its value is wrong.
bool read_diet(std::string_view option, std::string_view value, Diet& diet) {
    if (option == "--without") return read_without(value, diet);
    if (option == "--divide") return read_divide(value, diet);
    if (option == "--until") return number(value, diet.until_ms);
    if (option == "--skip") return read_skip(value, diet);
    return false;
}

/// Lines of a seed, options as of the command line, and a comment.
bool read_file(const std::string& path, std::vector<Request::Seed>& seeds) {
    std::ifstream in(path);
    if (!in) return false;
    for (std::string line; std::getline(in, line);) {
        std::istringstream words(line.substr(0, line.find('#')));
        std::string word;
        if (!(words >> word)) continue;
        Request::Seed one;
        if (!number(word, one.seed)) return false;
        for (std::string value; words >> word;) {
            if (!(words >> value) || !read_diet(word, value, one.diet)) return false;
        }
        seeds.push_back(one);
    }
    return true;
}

bool read(int argc, char** argv, Request& request) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view option = argv[i];
        const auto next = [&] { return std::string_view(i + 1 < argc ? argv[++i] : ""); };
        std::uint64_t seed = 0;
        bool good = true;
        if (option == "--seed") {
            good = number(next(), seed);
            request.seeds.push_back({seed, {}});
        } else if (option == "--seeds") {
            good = number(next(), request.from) && number(next(), request.count);
        } else if (option == "--file") {
            request.file = next();
            good = read_file(request.file, request.seeds);
        } else if (option == "--history") {
            request.history_to = next();
        } else if (option == "--say") {
            request.talkative = true;
        } else if (option == "--first") {
            request.first = true;
        } else if (option == "--shrink") {
            request.shrink = true;
        } else if (option == "--canary") {
            request.canary = true;
        } else if (option == "--verbose") {
            request.verbose = true;
        } else {
            good = read_diet(option, next(), request.diet);
        }
        if (!good) return false;
    }
    if (request.file.empty()) {
        for (Request::Seed& one : request.seeds) one.diet = request.diet;
    }
    return !request.seeds.empty() || request.count > 0 || !request.file.empty();
}

int run(int argc, char** argv) {
    Request request;
    if (!read(argc, argv, request)) {
        std::fprintf(stderr,
                     "usage: ferry_sim --seed N | --seeds FROM COUNT | --file SEEDS\n"
                     "  --shrink  --first  --canary  --verbose  --say  --history FILE\n"
                     "  --without FAULT|FEATURE,...  --divide actors|messages=N\n"
                     "  --until MS: faults end then  --skip N,...: these do not strike\n");
        return 2;
    }
    for (const int signal : {SIGABRT, SIGSEGV, SIGFPE, SIGBUS}) ::signal(signal, say_seed);
    // Memory stays with the process: runs take and give back the same over and over.
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    const auto begin = std::chrono::steady_clock::now();
    Sum sum;
    request.verbose = request.verbose || (request.seeds.size() == 1 && request.file.empty());
    for (const Request::Seed& one : request.seeds) run_one(one.seed, one.diet, request, true, sum);
    for (std::uint64_t i = 0; i < request.count; ++i) {
        run_one(request.from + i, request.diet, request, i % twice_every == 0, sum);
        if (request.first && sum.failures > 0) break;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    std::printf(
        "%llu seeds (%llu of them twice), %llu failed; %llu notes, %llu starts of the "
        "broker, %.1f virtual hours, %llu events; %.1f s, %.0f seeds/s\n",
        static_cast<unsigned long long>(sum.seeds), static_cast<unsigned long long>(sum.twice),
        static_cast<unsigned long long>(sum.failures),
        static_cast<unsigned long long>(sum.operations),
        static_cast<unsigned long long>(sum.crashes), static_cast<double>(sum.virtual_s) / 3600,
        static_cast<unsigned long long>(sum.events), took.count(),
        static_cast<double>(sum.seeds) / std::max(took.count(), 0.001));
    return sum.failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace ferry::simulation

int main(int argc, char** argv) {
    return ferry::simulation::run(argc, argv);
}
