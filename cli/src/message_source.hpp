#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "ferry/platform/result.hpp"

namespace ferry::cli {

/// Where `ferry publish` takes payloads from: one text, one whole file, or the lines of a stream.
///
/// Memory   never more than payload_bytes_cap per message, whatever the input holds.
class MessageSource {
public:
    /// No broker can be set to take more in a frame.
    static constexpr std::size_t payload_bytes_cap = 2U << 20;

    static MessageSource of_text(std::string text);
    /// Errors    not_found, io_failed, rejected (larger than payload_bytes_cap).
    static Result<MessageSource> of_file(const std::string& path);
    /// Does not own the stream.
    static MessageSource of_lines(std::FILE* stream);

    /// False: no more. The line's end is not part of the payload; an empty line is an empty
    /// message. Errors    rejected (a line over payload_bytes_cap), io_failed.
    Result<bool> next(std::string& payload);

private:
    MessageSource() = default;
    bool fill();

    std::FILE* stream_ = nullptr;  // null: single_ is all there is
    std::string single_;
    bool given_ = false;
    std::vector<char> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    bool failed_ = false;
};

}  // namespace ferry::cli
