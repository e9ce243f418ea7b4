#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace ferry::log_reader {

/// One file of a backup, as its MANIFEST promises it.
struct ManifestEntry {
    std::string name;
    std::uint64_t bytes = 0;
    std::uint32_t crc = 0;
};

struct Manifest {
    std::uint64_t log_id = 0;
    std::uint64_t upto = 0;
    std::vector<ManifestEntry> files;

    [[nodiscard]] std::uint64_t total_bytes() const;
};

/// Reads `directory`/MANIFEST. False: `why` says what is wrong, in one sentence.
bool read_manifest(const std::string& directory, Manifest& out, std::string& why);

/// Reads one file whole and compares length and CRC. Empty: it is as promised; else what is wrong.
/// `on_bytes` gets the bytes in order, may be empty, and returns false to give up.
[[nodiscard]] std::string check_file(
    const std::string& directory, const ManifestEntry& entry,
    const std::function<bool(std::span<const std::byte>)>& on_bytes);

}  // namespace ferry::log_reader
