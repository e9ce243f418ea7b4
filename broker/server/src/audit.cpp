#include "audit.hpp"

#include <cstdio>
#include <ctime>

namespace ferry::server {
namespace {

constexpr std::size_t value_bytes_max = 256;

void put(std::string& out, std::string_view key, std::string_view value) {
    if (value.empty()) return;
    out += ",\"";
    out += key;
    out += "\":\"";
    for (const char c : value.substr(0, value_bytes_max)) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out.push_back('\\');
            out.push_back(c);
        } else if (byte < 0x20 || byte >= 0x7f) {
            char code[8];
            std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(byte));
            out += code;
        } else {
            out.push_back(c);
        }
    }
    out += "\"";
}

std::string time_text(std::uint64_t wall_ms) {
    const auto seconds = static_cast<std::time_t>(wall_ms / 1000);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    char text[40];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    char whole[64];
    std::snprintf(whole, sizeof whole, "%s.%03uZ", text, static_cast<unsigned>(wall_ms % 1000));
    return whole;
}

}  // namespace

std::string audit_line(const AuditEvent& event, std::uint64_t wall_ms) {
    std::string line = "{\"time\":\"" + time_text(wall_ms) + "\"";
    put(line, "action", event.action);
    put(line, "result", event.result);
    put(line, "user", event.user);
    put(line, "from", event.from);
    put(line, "object", event.object);
    put(line, "detail", event.detail);
    return line + "}";
}

AuditLog::AuditLog(std::string path) : path_(std::move(path)) {}

std::unique_ptr<AuditLog> AuditLog::open(const std::string& path, std::string* error_text) {
    std::unique_ptr<AuditLog> log(new AuditLog(path));
    if (!log->open_file()) {
        *error_text = "audit.file " + path + " cannot be opened for writing";
        return nullptr;
    }
    log->thread_ = std::thread([self = log.get()] { self->run(); });
    return log;
}

AuditLog::~AuditLog() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

bool AuditLog::open_file() {
    auto opened = files_->open(path_, FileSystem::Open::create);
    if (!opened.ok()) return false;
    const auto size = opened.value()->size();
    if (!size.ok()) return false;
    file_ = std::move(opened).value();
    end_ = size.value();
    return true;
}

void AuditLog::write(std::string line) {
    {
        const std::lock_guard lock(mutex_);
        if (lines_.size() >= lines_max) {
            ++dropped_;
            return;
        }
        lines_.push_back(std::move(line));
    }
    changed_.notify_one();
}

void AuditLog::reopen() {
    {
        const std::lock_guard lock(mutex_);
        reopen_ = true;
    }
    changed_.notify_one();
}

std::uint64_t AuditLog::dropped() const {
    const std::lock_guard lock(mutex_);
    return dropped_;
}

void AuditLog::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return stop_ || reopen_ || !lines_.empty(); });
        std::deque<std::string> taken;
        taken.swap(lines_);
        const bool anew = std::exchange(reopen_, false);
        const bool last = stop_;
        lock.unlock();
        // Of a new file that cannot be made the old one is the better place.
        if (anew) (void)open_file();
        std::string text;
        for (const std::string& line : taken) text += line + "\n";
        const bool written = text.empty() || file_->write_at(end_, as_bytes(text)).ok();
        if (written) end_ += text.size();
        lock.lock();
        if (!written) dropped_ += taken.size();
        if (last && lines_.empty()) return;
    }
}

}  // namespace ferry::server
