// The bare durable pipeline: libuv socket, a walk over every message, CRC-32C, a file written
// ahead, fdatasync on a writer thread, confirm; with e2e also delivery to a consumer and its acks,
// logged too. No routing, no queues, no recovery: the ceiling that a broker of this design can
// approach on this machine.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "client.hpp"
#include "ferry/platform/assert.hpp"
#include "server.hpp"

namespace ferry::floor {
namespace {

bool number(const char* text, std::uint64_t& out) {
    const char* const end = text + std::strlen(text);
    const auto parsed = std::from_chars(text, end, out);
    return parsed.ec == std::errc() && parsed.ptr == end;
}

bool parse(int argc, char** argv, Load& load) {
    if (argc < 6 || argc > 7) return false;
    const std::string_view mode = argv[1];
    load.deliver = mode == "e2e";
    if (!load.deliver && mode != "publish") return false;
    return number(argv[2], load.count) && number(argv[3], load.size) &&
           number(argv[4], load.window) && number(argv[5], load.batch) && load.count > 0 &&
           load.size <= (1U << 20) && load.batch > 0 && load.batch * (load.size + 32) < (1U << 30);
}

double own_cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void print(const Load& load, const ClientReport& client, const ServerReport& server) {
    const auto at = [&](double share) {
        const auto last = static_cast<double>(client.confirm_us.size() - 1);
        return client.confirm_us[static_cast<std::size_t>(share * last)];
    };
    const double rate = static_cast<double>(load.count) / client.seconds;
    std::printf(
        "{\"mode\":\"%s\",\"count\":%llu,\"size\":%llu,\"window\":%llu,\"batch\":%llu,"
        "\"msgs_s\":%.0f,\"mb_s\":%.1f,\"confirm_us\":{\"p50\":%.0f,\"p99\":%.0f,\"p999\":%.0f,"
        "\"max\":%.0f},\"server_cpu_s\":%.2f,\"client_cpu_s\":%.2f,\"fsyncs\":%llu,"
        "\"seconds\":%.3f}\n",
        load.deliver ? "e2e" : "publish", static_cast<unsigned long long>(load.count),
        static_cast<unsigned long long>(load.size), static_cast<unsigned long long>(load.window),
        static_cast<unsigned long long>(load.batch), rate,
        rate * static_cast<double>(load.size) / 1e6, at(0.5), at(0.99), at(0.999), at(1.0),
        server.cpu_seconds, own_cpu_seconds(), static_cast<unsigned long long>(server.syncs),
        client.seconds);
}

int run(const Load& load, const std::string& directory) {
    const std::string path = directory + "/floor." + std::to_string(getpid());
    int ends[2];
    FERRY_ASSERT(pipe(ends) == 0, "a pipe can be made");
    const pid_t server =
        fork();  // before any thread: processes of their own, as broker and client are
    FERRY_ASSERT(server >= 0, "a process can be made");
    if (server == 0) {
        close(ends[0]);
        serve(path, load.deliver, ends[1]);
        std::exit(0);
    }
    close(ends[1]);
    std::uint16_t port = 0;
    FERRY_ASSERT(read(ends[0], &port, sizeof port) == sizeof port, "the server started");
    const ClientReport client = drive(port, load);
    ServerReport report;
    FERRY_ASSERT(read(ends[0], &report, sizeof report) == sizeof report, "the server reported");
    waitpid(server, nullptr, 0);
    FERRY_ASSERT(report.messages == load.count, "the server took every message");
    print(load, client, report);
    return 0;
}

}  // namespace
}  // namespace ferry::floor

int main(int argc, char** argv) {
    ferry::floor::Load load;
    if (!ferry::floor::parse(argc, argv, load)) {
        std::fputs("usage: ferry_floor publish|e2e COUNT SIZE WINDOW BATCH [DIRECTORY]\n", stderr);
        return 2;
    }
    return ferry::floor::run(load, argc == 7 ? argv[6] : ".");
}
