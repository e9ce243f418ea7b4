#include "explorer.hpp"

#include <algorithm>

namespace ferry::crash {
namespace {

constexpr std::uint64_t failures_printed_max = 4;

/// All that must hold of a disk found after a power cut. The driver's history then also has what
/// was published here, so that a crash on the way can be judged too.
std::string check_disk(sim::SimFileSystem& files, LogDriver& driver) {
    const std::uint64_t before = files.image().hash();
    if (std::string wrong = driver.open(); !wrong.empty()) {
        const bool touched = !driver.is_open() && files.image().hash() != before;
        return wrong + (touched ? " (and changed the disk)" : "");
    }
    if (std::string wrong = driver.read_all(); !wrong.empty()) return wrong;
    if (std::string wrong = driver.publish_one(); !wrong.empty()) return wrong;
    driver.kill();
    if (std::string wrong = driver.open(); !wrong.empty()) return "opened again: " + wrong;
    if (std::string wrong = driver.read_all(); !wrong.empty()) return "opened again: " + wrong;
    driver.kill();
    return {};
}

std::string last_operations(const sim::Journal& journal, std::size_t point) {
    std::string text;
    for (std::size_t i = point - std::min<std::size_t>(point, 14); i < point; ++i) {
        text += "  " + std::to_string(i) + ": " + describe(journal.operations[i]) + "\n";
    }
    return text;
}

}  // namespace

std::string name_of(const std::vector<Step>& steps) {
    std::string name;
    for (const Step step : steps) name += (name.empty() ? "" : ", ") + std::string(name_of(step));
    return "{" + name + "}";
}

void Explorer::fail(const std::string& text) {
    if (++counts_.failures <= failures_printed_max) failures_ += text + "\n";
}

void Explorer::explore(const std::string& name, const sim::Journal& journal, const History& history,
                       std::size_t from, std::size_t to, std::size_t every) {
    sim::CrashStates states(journal, options_.profile,
                            deeper_ ? options_.deeper_limits : options_.limits);
    for (std::size_t point = from + 1; point <= to; point += every) {
        const History expected = history.after_crash(point);
        const std::uint64_t expectation = expected.hash();
        ++counts_.points;
        counts_.visited += states.at(point, [&](const sim::DiskImage& image, std::uint64_t hash) {
            distinct_.insert(hash);
            if (!done_.insert(hash ^ (expectation * 0x9E3779B97F4A7C15ULL)).second) return;
            const std::uint64_t failed = counts_.failures;
            check(name + " crash after operation " + std::to_string(point), image, expected, hash,
                  states.description());
            if (failed == counts_.failures || failed >= failures_printed_max) return;
            failures_ += " the last operations:\n" + last_operations(journal, point) + "\n";
        });
        counts_.sampled_points += states.sampled() ? 1 : 0;
    }
}

void Explorer::check(const std::string& name, const sim::DiskImage& image, const History& expected,
                     std::uint64_t hash, const std::string& description) {
    ++counts_.checked;
    counts_.deeper += deeper_ ? 1 : 0;
    const bool go_deeper =
        !deeper_ && options_.deeper_one_in > 0 && hash % options_.deeper_one_in == 0;
    sim::SimFileSystem files(image, go_deeper);
    LogDriver driver(files, expected, hash);
    const std::string wrong = check_disk(files, driver);
    if (!wrong.empty()) {
        fail(name + ": " + wrong + "\n what became of unsynced operations:\n" + description);
        return;
    }
    if (!go_deeper) return;
    deeper_ = true;
    explore(name + ", then during recovery,", files.journal(), driver.history(), 0,
            files.operations());
    deeper_ = false;
}

void Explorer::run(const Aged& start, const std::vector<Step>& steps, bool all) {
    ++counts_.workloads;
    sim::SimFileSystem files(start.disk);
    LogDriver driver(files, start.history, 5);
    const std::string name = name_of(steps);
    std::string wrong = driver.open();
    std::size_t from = all ? 0 : files.operations();
    for (std::size_t i = 0; i < steps.size() && wrong.empty(); ++i) {
        if (!all) from = files.operations();
        wrong = driver.run(steps[i]);
    }
    if (!wrong.empty()) {
        fail(name + " without any crash: " + wrong);
        return;
    }
    const std::size_t to = files.operations();
    driver.kill();
    explore(name, files.journal(), driver.history(), from, to);
}

std::string Explorer::summary() const {
    const auto item = [](const char* what, std::uint64_t count) {
        return std::string(" ") + what + "=" + std::to_string(count);
    };
    return "[ COUNTS   ]" + item("workloads", counts_.workloads) + item("points", counts_.points) +
           item("states", counts_.visited) + item("checked", counts_.checked) +
           item("distinct", distinct()) + item("deeper", counts_.deeper) +
           item("sampled_points", counts_.sampled_points) + item("failures", counts_.failures);
}

}  // namespace ferry::crash
