#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "ferry/platform/file.hpp"

namespace ferry::server {

/// Something that whoever answers for the broker wants to know later. Never holds a secret.
struct AuditEvent {
    std::string_view user;         // empty: nobody signed in
    std::string_view from;         // address of the peer
    std::string_view action;       // "sign_in", "permission", "queue_declare", "reload" …
    std::string_view object = {};  // a name; it is shortened
    std::string_view result;       // "ok", "allowed", "denied", "failed"
    std::string_view detail = {};  // one sentence
};

/// One JSON object for the log; every byte of names that is not plain ASCII is escaped.
[[nodiscard]] std::string audit_line(const AuditEvent& event, std::uint64_t wall_ms);

/// Appends lines to a file, on a thread of its own: the loop never waits for it.
///
/// Threads   write() and reopen() on the loop's. Memory: at most lines_max lines wait; what is
///           beyond is dropped and counted.
class AuditLog {
public:
    static constexpr std::size_t lines_max = 10'000;

    /// Null: *error_text says why the file cannot be used.
    static std::unique_ptr<AuditLog> open(const std::string& path, std::string* error_text);
    /// Writes what waits.
    ~AuditLog();
    AuditLog(const AuditLog&) = delete;
    AuditLog& operator=(const AuditLog&) = delete;

    void write(std::string line);
    /// Goes on in the file that has the name now: after somebody moved the old one away.
    void reopen();
    [[nodiscard]] std::uint64_t dropped() const;

private:
    explicit AuditLog(std::string path);
    [[nodiscard]] bool open_file();
    void run();

    const std::string path_;
    std::unique_ptr<FileSystem> files_ = make_posix_file_system();
    std::unique_ptr<File> file_;  // the thread's, once it runs
    std::uint64_t end_ = 0;

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::string> lines_;
    std::uint64_t dropped_ = 0;
    bool reopen_ = false;
    bool stop_ = false;
    std::thread thread_;
};

}  // namespace ferry::server
