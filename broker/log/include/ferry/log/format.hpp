#pragma once

#include <cstdint>

// Byte layout constants of the log; docs/storage-format.md is the page they belong to.
namespace ferry::log::format {

inline constexpr std::uint32_t version = 1;
inline constexpr std::uint64_t segment_magic = 0x3130474553595246ULL;    // "FRYSEG01" little-endian
inline constexpr std::uint64_t compacted_magic = 0x313050434D595246ULL;  // "FRYMCP01"
inline constexpr std::uint64_t checkpoint_magic = 0x3130504B43595246ULL;  // "FRYCKP01"
inline constexpr std::uint32_t batch_magic = 0x54414246;                  // "FBAT"

inline constexpr std::uint64_t segment_header_bytes = 4096;
inline constexpr std::uint64_t batch_alignment =
    512;  // a torn sector never touches an earlier batch
inline constexpr std::uint32_t batch_header_bytes = 64;
inline constexpr std::uint32_t record_header_bytes =
    8;  // u32 body length, u32 crc32c of length and body

// No record is ever this long: what stands where a record could stand and claims a length of this
// or more is padding that runs into the next batch header.
inline constexpr std::uint32_t record_bytes_limit = 1U << 30;

inline constexpr std::uint32_t compacted_entry_bytes = 16;  // u64 position, u32 length, u32 crc32c
inline constexpr std::uint32_t compacted_index_bytes = 16;  // u64 position, u64 file offset
inline constexpr std::uint64_t compacted_index_stride = 64ULL * 1024;

inline constexpr std::uint32_t checkpoint_header_bytes = 96;
inline constexpr std::uint32_t checkpoint_segment_bytes = 32;
inline constexpr std::uint32_t checkpoint_flag_clean = 1;

}  // namespace ferry::log::format
