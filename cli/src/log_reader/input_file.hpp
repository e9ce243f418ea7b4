#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ferry::log_reader {

/// A file opened for reading, seen through a moving window.
///
/// Plain reads, not a mapping: the directory may belong to a running broker, and a file that
/// shrinks under a mapping ends the process. Threads: one. Blocking: every call.
class InputFile {
public:
    /// Empty: cannot be opened; errno says why.
    static std::optional<InputFile> open(const std::string& path);
    ~InputFile();
    InputFile(InputFile&& other) noexcept;
    InputFile& operator=(InputFile&&) = delete;
    InputFile(const InputFile&) = delete;

    [[nodiscard]] std::uint64_t size() const { return size_; }
    /// The bytes at `offset`, `length` of them or as many as the file has. Valid until the next
    /// call. Empty with failed() true: the operating system could not read.
    [[nodiscard]] std::span<const std::byte> view(std::uint64_t offset, std::size_t length);
    /// Forgets what was read, so that the next view() sees what another process wrote meanwhile.
    void refresh();
    [[nodiscard]] bool failed() const { return error_ != 0; }
    [[nodiscard]] int error() const { return error_; }

private:
    InputFile(int descriptor, std::uint64_t size) : descriptor_(descriptor), size_(size) {}
    void fill(std::uint64_t offset, std::size_t length);

    int descriptor_;
    std::uint64_t size_;
    std::uint64_t window_at_ = 0;
    std::vector<std::byte> window_;
    int error_ = 0;
};

}  // namespace ferry::log_reader
