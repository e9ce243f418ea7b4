#include "bench/process.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string_view>
#include <system_error>

#include "ferry/transport/url.hpp"

// The protocol does not tell a broker's process number, because it means nothing on another
// machine. Here it is found the way `ss -lp` does: the listening socket's inode, and the process
// that holds it.
namespace ferry::cli::bench {
namespace {

namespace fs = std::filesystem;

bool is_loopback(std::string_view host) {
    return host == "localhost" || host == "::1" || host.starts_with("127.");
}

void add_listening_inodes(const char* table, std::uint16_t port, std::set<std::string>& inodes) {
    std::ifstream file(table);
    std::string line;
    std::getline(file, line);  // the heading
    while (std::getline(file, line)) {
        std::istringstream fields(line);
        std::string number;
        std::string local;
        std::string state;
        std::string skipped;
        std::string inode;
        fields >> number >> local >> skipped >> state;
        for (int i = 0; i < 5; ++i) fields >> skipped;
        fields >> inode;
        const std::size_t colon = local.find(':');
        unsigned found = 0;
        if (colon == std::string::npos || state != "0A") continue;
        std::from_chars(local.data() + colon + 1, local.data() + local.size(), found, 16);
        if (found == port) inodes.insert("socket:[" + inode + "]");
    }
}

bool is_ferryd(const fs::path& process) {
    std::ifstream file(process / "comm");
    std::string name;
    return std::getline(file, name) && name.starts_with("ferryd");
}

bool holds_one_of(const fs::path& process, const std::set<std::string>& inodes) {
    std::error_code problem;
    for (fs::directory_iterator each(process / "fd", problem), end; !problem && each != end;
         each.increment(problem)) {
        std::error_code unreadable;
        if (inodes.contains(fs::read_symlink(each->path(), unreadable).string())) return true;
    }
    return false;
}

}  // namespace

std::optional<std::uint64_t> find_broker_process(const std::string& url) {
    const auto address = transport::parse_url(url);
    if (!address.ok() || !is_loopback(address.value().host)) return std::nullopt;
    std::set<std::string> inodes;
    add_listening_inodes("/proc/net/tcp", address.value().port, inodes);
    add_listening_inodes("/proc/net/tcp6", address.value().port, inodes);
    std::error_code problem;
    for (fs::directory_iterator each("/proc", problem), end; !problem && each != end;
         each.increment(problem)) {
        const std::string name = each->path().filename().string();
        std::uint64_t pid = 0;
        const auto [stop, wrong] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (wrong != std::errc{} || stop != name.data() + name.size()) continue;
        if (is_ferryd(each->path()) && holds_one_of(each->path(), inodes)) return pid;
    }
    return std::nullopt;
}

std::optional<double> process_cpu_seconds(std::uint64_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    if (!std::getline(file, line)) return std::nullopt;
    const std::size_t name_end = line.rfind(')');  // the name may hold spaces and parentheses
    if (name_end == std::string::npos) return std::nullopt;
    std::istringstream rest(line.substr(name_end + 1));
    std::string skipped;
    for (int i = 0; i < 11; ++i) rest >> skipped;  // fields 3 to 13
    double user = 0;
    double system = 0;
    if (!(rest >> user >> system)) return std::nullopt;
    return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double own_cpu_seconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace ferry::cli::bench
