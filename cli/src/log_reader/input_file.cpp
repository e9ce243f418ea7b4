#include "log_reader/input_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace ferry::log_reader {
namespace {

constexpr std::size_t window_bytes = 1U << 20;

}  // namespace

std::optional<InputFile> InputFile::open(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return std::nullopt;
    struct stat info {};
    if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
        const int why = errno != 0 ? errno : EINVAL;
        ::close(descriptor);
        errno = why;
        return std::nullopt;
    }
    return InputFile(descriptor, static_cast<std::uint64_t>(info.st_size));
}

InputFile::InputFile(InputFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_),
      window_at_(other.window_at_),
      window_(std::move(other.window_)),
      error_(other.error_) {}

InputFile::~InputFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

void InputFile::fill(std::uint64_t offset, std::size_t length) {
    window_.resize(std::max(length, window_bytes));
    window_at_ = offset;
    std::size_t have = 0;
    while (have < window_.size()) {
        const ssize_t got = ::pread(descriptor_, window_.data() + have, window_.size() - have,
                                    static_cast<off_t>(offset + have));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) error_ = errno;
        if (got <= 0) break;
        have += static_cast<std::size_t>(got);
    }
    window_.resize(error_ != 0 ? 0 : have);
}

void InputFile::refresh() {
    window_.clear();
    struct stat info {};
    if (::fstat(descriptor_, &info) == 0) size_ = static_cast<std::uint64_t>(info.st_size);
}

std::span<const std::byte> InputFile::view(std::uint64_t offset, std::size_t length) {
    if (offset >= size_) return {};
    const std::size_t wanted =
        static_cast<std::size_t>(std::min<std::uint64_t>(length, size_ - offset));
    const bool inside = offset >= window_at_ && offset + wanted <= window_at_ + window_.size();
    if (!inside) fill(offset, wanted);
    const std::size_t skip = static_cast<std::size_t>(offset - window_at_);
    if (skip >= window_.size()) return {};
    return std::span<const std::byte>(window_).subspan(skip,
                                                       std::min(wanted, window_.size() - skip));
}

}  // namespace ferry::log_reader
