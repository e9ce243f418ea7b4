#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "log_reader/catalog.hpp"
#include "log_reader/input_file.hpp"

namespace ferry::log_reader {

struct Batch {
    std::uint32_t crc = 0;
    std::uint64_t epoch = 0;
    std::uint64_t position = 0;
    std::uint64_t durable_upto = 0;
    std::uint32_t length = 0;
    std::uint32_t records = 0;
    std::uint32_t previous_crc = 0;
    std::uint32_t flags = 0;
    std::uint64_t wall_ms = 0;

    /// First position behind the batch and its padding.
    [[nodiscard]] std::uint64_t end() const;
};

/// What lies where a batch is expected.
struct BatchProbe {
    enum class State : std::uint8_t {
        valid,
        absent,  // nothing here claims to be this batch: zeros, or leftovers of an earlier use of
                 // the file
        bad,     // it claims to be this batch and is not whole
    };
    State state = State::absent;
    Batch batch;
    std::span<const std::byte> records;  // into the file's window, when valid
    std::string_view why;                // when bad
};

inline constexpr std::uint64_t segment_header_bytes = 4096;
inline constexpr std::uint64_t batch_alignment = 512;

/// Looks at `position` of a plain segment and checks the batch by itself: its magic, place and CRC.
[[nodiscard]] BatchProbe probe_batch(InputFile& file, const Segment& segment,
                                     std::uint64_t position);

struct Record {
    std::uint64_t position = 0;
    std::span<const std::byte> body;
};

/// Splits a batch's bytes into records and checks the CRC of each. Empty text: all fine; else what
/// is wrong and, in `bad_at`, how far into the batch's records.
[[nodiscard]] std::string_view split_records(const Batch& batch, std::span<const std::byte> bytes,
                                             const std::function<void(const Record&)>& on_record,
                                             std::size_t& bad_at);

}  // namespace ferry::log_reader
