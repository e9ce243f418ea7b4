// Drives Redis Streams as `ferry bench` drives ferryd: XADD with a window of unanswered commands,
// XREADGROUP and XACK beside it. As much per system call as the window allows, so that Redis and
// not its client is measured.
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "ferry/platform/assert.hpp"
#include "loopback_socket.hpp"

namespace {

using Clock = std::chrono::steady_clock;

/// One RESP reply in the buffer: `end` behind it, and the ids of stream entries it holds.
class Replies {
public:
    explicit Replies(int fd) : fd_(fd) {}

    /// Steps over one whole reply, receiving as needed. Appends every string that looks like an
    /// entry's id.
    void take(std::vector<std::string>* ids) {
        while (!step(begin_, ids)) {
            if (ids != nullptr) ids->clear();
            receive();
        }
    }
    [[nodiscard]] bool more() const { return begin_ < buffer_.size(); }

private:
    void receive() {
        buffer_.erase(0, begin_);
        begin_ = 0;
        const std::size_t had = buffer_.size();
        buffer_.resize(had + (256U << 10));
        const ssize_t got = recv(fd_, buffer_.data() + had, buffer_.size() - had, 0);
        FERRY_ASSERT(got > 0, "Redis stays to the end");
        buffer_.resize(had + static_cast<std::size_t>(got));
    }

    /// Moves `at` behind the reply that begins there; false if it is not whole yet.
    bool step(std::size_t& begin, std::vector<std::string>* ids) {
        std::size_t at = begin;
        std::uint64_t wanted = 1;
        while (wanted > 0) {
            const std::size_t line_end = buffer_.find("\r\n", at);
            if (line_end == std::string::npos) return false;
            const char kind = buffer_[at];
            FERRY_ASSERT(kind != '-', "Redis takes the command");
            long long number = 0;
            std::from_chars(buffer_.data() + at + 1, buffer_.data() + line_end, number);
            at = line_end + 2;
            --wanted;
            if (kind == '*' && number > 0) wanted += static_cast<std::uint64_t>(number);
            if (kind != '$' || number < 0) continue;
            const auto size = static_cast<std::size_t>(number);
            if (buffer_.size() < at + size + 2) return false;
            const std::string_view text(buffer_.data() + at, size);
            if (ids != nullptr && size < 30 && text.find('-') != text.npos) ids->emplace_back(text);
            at += size + 2;
        }
        begin = at;
        return true;
    }

    int fd_;
    std::string buffer_;
    std::size_t begin_ = 0;
};

class Redis {
public:
    explicit Redis(std::uint16_t port) : socket_(port), replies_(socket_.fd()) {}

    static void put(std::string& out, const std::vector<std::string_view>& words) {
        out += "*" + std::to_string(words.size()) + "\r\n";
        for (const std::string_view word : words) {
            out += "$" + std::to_string(word.size()) + "\r\n";
            out += word;
            out += "\r\n";
        }
    }
    void send(const std::string& bytes) const { socket_.send(bytes); }
    Replies& replies() { return replies_; }

private:
    ferry::bench::LoopbackSocket socket_;
    Replies replies_;
};

struct Load {
    std::string_view mode;
    std::uint64_t count = 0;
    std::uint64_t size = 0;
    std::uint64_t window = 0;
    std::uint64_t batch = 0;
    std::uint16_t port = 0;
};

struct Report {
    double seconds = 0;
    std::vector<double> confirm_us;
    std::vector<double> deliver_us;
};

double us_since(Clock::time_point start) {
    return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

std::string read_command() {
    std::string out;
    Redis::put(out, {"XREADGROUP", "GROUP", "g", "c", "COUNT", "256", "BLOCK", "0", "STREAMS",
                     "bench", ">"});
    return out;
}

void put_acks(std::string& out, const std::vector<std::string>& ids) {
    std::vector<std::string_view> words{"XACK", "bench", "g"};
    words.insert(words.end(), ids.begin(), ids.end());
    Redis::put(out, words);
}

/// Reads and acks in turn; the ack of one batch travels with the request for the next.
void consume(std::uint16_t port, std::uint64_t count) {
    Redis redis(port);
    std::vector<std::string> ids;
    redis.send(read_command());
    for (std::uint64_t taken = 0; taken < count;) {
        ids.clear();
        redis.replies().take(&ids);
        taken += ids.size();
        std::string next;
        put_acks(next, ids);
        if (taken < count) next += read_command();
        redis.send(next);
        redis.replies().take(nullptr);
    }
}

void produce(const Load& load, Report& report) {
    Redis redis(load.port);
    const std::string payload(load.size, 'x');
    std::string one;
    Redis::put(one, {"XADD", "bench", "*", "d", payload});
    std::vector<Clock::time_point> sent_at;
    std::uint64_t sent = 0;
    std::string bytes;
    for (std::uint64_t confirmed = 0; confirmed < load.count;) {
        bytes.clear();
        const auto now = Clock::now();
        while (sent < load.count && sent - confirmed + load.batch <= load.window) {
            for (std::uint64_t i = 0; i < load.batch && sent < load.count; ++i, ++sent) {
                bytes += one;
                sent_at.push_back(now);
            }
        }
        if (!bytes.empty()) redis.send(bytes);
        do {
            redis.replies().take(nullptr);
            report.confirm_us.push_back(us_since(sent_at[confirmed]));
            ++confirmed;
        } while (redis.replies().more() && confirmed < sent);
    }
}

/// One message at a time: sent, confirmed, delivered, acked.
void ping(const Load& load, Report& report) {
    Redis producer(load.port);
    Redis consumer(load.port);
    const std::string payload(load.size, 'x');
    std::string add;
    Redis::put(add, {"XADD", "bench", "*", "d", payload});
    std::vector<std::string> ids;
    for (std::uint64_t i = 0; i < load.count; ++i) {
        consumer.send(read_command());
        double delivered = 0;
        const auto start = Clock::now();
        std::thread waiting([&] {
            ids.clear();
            consumer.replies().take(&ids);
            delivered = us_since(start);
        });
        const auto sent = Clock::now();
        producer.send(add);
        producer.replies().take(nullptr);
        report.confirm_us.push_back(us_since(sent));
        waiting.join();
        report.deliver_us.push_back(
            delivered - std::chrono::duration<double, std::micro>(sent - start).count());
        std::string ack;
        put_acks(ack, ids);
        consumer.send(ack);
        consumer.replies().take(nullptr);
    }
}

void prepare(std::uint16_t port) {
    Redis redis(port);
    std::string bytes;
    Redis::put(bytes, {"DEL", "bench"});
    Redis::put(bytes, {"XGROUP", "CREATE", "bench", "g", "0", "MKSTREAM"});
    redis.send(bytes);
    redis.replies().take(nullptr);
    redis.replies().take(nullptr);
}

bool number(const char* text, std::uint64_t& out) {
    const char* const end = text + std::strlen(text);
    const auto parsed = std::from_chars(text, end, out);
    return parsed.ec == std::errc() && parsed.ptr == end;
}

bool parse(int argc, char** argv, Load& load) {
    std::uint64_t port = 0;
    if (argc != 7 || !number(argv[2], load.count) || !number(argv[3], load.size) ||
        !number(argv[4], load.window) || !number(argv[5], load.batch) || !number(argv[6], port)) {
        return false;
    }
    load.mode = argv[1];
    load.port = static_cast<std::uint16_t>(port);
    load.window = std::max(load.window, load.batch);
    return (load.mode == "publish" || load.mode == "e2e" || load.mode == "ping") &&
           load.count > 0 && load.batch > 0 && port < 65536;
}

std::string latency(std::vector<double>& us) {
    if (us.empty()) return "null";
    std::sort(us.begin(), us.end());
    const auto at = [&](double share) {
        return us[static_cast<std::size_t>(share * static_cast<double>(us.size() - 1))];
    };
    char text[160];
    std::snprintf(text, sizeof text, "{\"p50\":%.0f,\"p99\":%.0f,\"p999\":%.0f,\"max\":%.0f}",
                  at(0.5), at(0.99), at(0.999), at(1.0));
    return text;
}

}  // namespace

int main(int argc, char** argv) {
    Load load;
    if (!parse(argc, argv, load)) {
        std::fputs("usage: ferry_redis_load publish|e2e|ping COUNT SIZE WINDOW BATCH PORT\n",
                   stderr);
        return 2;
    }
    prepare(load.port);
    Report report;
    const auto start = Clock::now();
    if (load.mode == "ping") {
        ping(load, report);
    } else {
        std::thread consumer;
        if (load.mode == "e2e") consumer = std::thread([&] { consume(load.port, load.count); });
        produce(load, report);
        if (consumer.joinable()) consumer.join();
    }
    report.seconds = us_since(start) / 1e6;
    const double rate = static_cast<double>(load.count) / report.seconds;
    std::printf(
        "{\"mode\":\"%s\",\"msgs_s\":%.0f,\"mb_s\":%.1f,\"confirm_us\":%s,\"deliver_us\":%s}\n",
        argv[1], rate, rate * static_cast<double>(load.size) / 1e6,
        latency(report.confirm_us).c_str(), latency(report.deliver_us).c_str());
    return 0;
}
