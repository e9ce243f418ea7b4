#include "process_figures.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace ferry::telemetry {
namespace {

void add(std::vector<prometheus::MetricFamily>& families, const char* name, const char* help,
         prometheus::MetricType type, double value) {
    prometheus::ClientMetric metric;
    (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    families.push_back({name, help, type, {metric}});
}

/// Fields of /proc/self/stat from the third on; the second holds the program's name and may hold
/// anything.
std::vector<std::string> stat_fields() {
    std::ifstream file("/proc/self/stat");
    std::string line;
    std::getline(file, line);
    const auto name_end = line.rfind(')');
    if (name_end == std::string::npos) return {};
    std::istringstream rest(line.substr(name_end + 1));
    std::vector<std::string> fields;
    for (std::string field; rest >> field;) fields.push_back(field);
    return fields;
}

std::optional<double> boot_time() {
    std::ifstream file("/proc/stat");
    for (std::string word; file >> word;) {
        double seconds = 0;
        if (word == "btime" && file >> seconds) return seconds;
    }
    return std::nullopt;
}

std::optional<double> open_files() {
    std::error_code error;
    std::filesystem::directory_iterator entries("/proc/self/fd", error);
    if (error) return std::nullopt;
    double count = -1;  // the one that the listing itself holds open
    for (const auto end = std::filesystem::directory_iterator(); entries != end;) {
        count += 1;
        entries.increment(error);
        if (error) return std::nullopt;
    }
    return count;
}

}  // namespace

std::vector<prometheus::MetricFamily> process_families() {
    using prometheus::MetricType;
    std::vector<prometheus::MetricFamily> families;
    rusage usage{};
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        const auto seconds = [](const timeval& t) {
            return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
        };
        add(families, "process_cpu_seconds_total", "User and system CPU time spent.",
            MetricType::Counter, seconds(usage.ru_utime) + seconds(usage.ru_stime));
    }
    const auto fields = stat_fields();
    constexpr std::size_t start_field = 19;  // starttime, counted from field 3
    constexpr std::size_t rss_field = 21;    // resident pages
    if (fields.size() > rss_field) {
        const auto boot = boot_time();
        const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
        if (boot && ticks > 0) {
            add(families, "process_start_time_seconds", "When the process started, Unix time.",
                MetricType::Gauge, *boot + std::stod(fields[start_field]) / ticks);
        }
        add(families, "process_resident_memory_bytes", "Resident memory.", MetricType::Gauge,
            std::stod(fields[rss_field]) * static_cast<double>(sysconf(_SC_PAGESIZE)));
    }
    if (const auto open = open_files()) {
        add(families, "process_open_fds", "Open file descriptors.", MetricType::Gauge, *open);
    }
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        add(families, "process_max_fds", "Highest number of open file descriptors.",
            MetricType::Gauge, static_cast<double>(limit.rlim_cur));
    }
    return families;
}

}  // namespace ferry::telemetry
