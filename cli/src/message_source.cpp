#include "message_source.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

namespace ferry::cli {
namespace {

constexpr std::size_t buffer_bytes = 64U << 10;

}  // namespace

MessageSource MessageSource::of_text(std::string text) {
    MessageSource source;
    source.single_ = std::move(text);
    return source;
}

Result<MessageSource> MessageSource::of_file(const std::string& path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                               &std::fclose);
    if (!file) {
        const Errc code = errno == ENOENT ? Errc::not_found : Errc::io_failed;
        return Error{code, errno, 0, "cannot open the file"};
    }
    MessageSource source;
    source.single_.resize(payload_bytes_cap + 1);
    source.single_.resize(std::fread(source.single_.data(), 1, source.single_.size(), file.get()));
    if (std::ferror(file.get()) != 0) {
        return Error{Errc::io_failed, errno, 0, "cannot read the file"};
    }
    if (source.single_.size() > payload_bytes_cap) {
        return Error{Errc::rejected, 0, 0, "the file is larger than 2 MiB, which no broker takes"};
    }
    return source;
}

MessageSource MessageSource::of_lines(std::FILE* stream) {
    MessageSource source;
    source.stream_ = stream;
    source.buffer_.resize(buffer_bytes);
    return source;
}

bool MessageSource::fill() {
    begin_ = 0;
    // Not fread, which waits for a whole buffer: lines that trickle in are published as they come.
    ssize_t got = -1;
    do {
        got = ::read(::fileno(stream_), buffer_.data(), buffer_.size());
    } while (got < 0 && errno == EINTR);
    failed_ = got < 0;
    end_ = got > 0 ? static_cast<std::size_t>(got) : 0;
    return end_ > 0;
}

Result<bool> MessageSource::next(std::string& payload) {
    if (stream_ == nullptr) {
        if (std::exchange(given_, true)) return false;
        payload = std::move(single_);
        return true;
    }
    payload.clear();
    bool any = false;
    while (begin_ < end_ || fill()) {
        any = true;
        const char* from = buffer_.data() + begin_;
        const auto* line_end = static_cast<const char*>(std::memchr(from, '\n', end_ - begin_));
        const std::size_t length =
            line_end != nullptr ? static_cast<std::size_t>(line_end - from) : end_ - begin_;
        if (payload.size() + length > payload_bytes_cap) {
            return Error{Errc::rejected, 0, 0,
                         "a line is longer than 2 MiB, which no broker takes"};
        }
        payload.append(from, length);
        begin_ += length + (line_end != nullptr ? 1 : 0);
        if (line_end != nullptr) return true;
    }
    if (failed_) return Error{Errc::io_failed, errno, 0, "cannot read the input"};
    return any;
}

}  // namespace ferry::cli
