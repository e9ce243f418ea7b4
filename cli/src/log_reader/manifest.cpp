#include "log_reader/manifest.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

#include "log_reader/crc32c.hpp"
#include "log_reader/input_file.hpp"

namespace ferry::log_reader {
namespace {

constexpr std::size_t manifest_bytes_max = 64U << 20;
constexpr std::size_t chunk_bytes = 1U << 20;

}  // namespace

std::uint64_t Manifest::total_bytes() const {
    std::uint64_t total = 0;
    for (const ManifestEntry& entry : files) total += entry.bytes;
    return total;
}

bool read_manifest(const std::string& directory, Manifest& out, std::string& why) {
    (void)out;
    auto file = InputFile::open(directory + "/MANIFEST");
    if (!file) {
        why =
            directory + " is no finished backup: cannot open its MANIFEST: " + std::strerror(errno);
        return false;
    }
    if (file->size() > manifest_bytes_max) {
        why = directory + "/MANIFEST is larger than any manifest";
        return false;
    }
    why = "not read yet";
    return false;
}

std::string check_file(const std::string& directory, const ManifestEntry& entry,
                       const std::function<bool(std::span<const std::byte>)>& on_bytes) {
    auto file = InputFile::open(directory + "/" + entry.name);
    if (!file) return std::string("cannot open: ") + std::strerror(errno);
    if (file->size() != entry.bytes) {
        return "has " + std::to_string(file->size()) + " bytes instead of " +
               std::to_string(entry.bytes);
    }
    std::uint32_t crc = 0;
    for (std::uint64_t at = 0; at < entry.bytes;) {
        const auto bytes = file->view(at, chunk_bytes);
        if (bytes.empty()) return std::string("cannot read: ") + std::strerror(file->error());
        crc = crc32c(bytes, crc);
        at += bytes.size();
        if (on_bytes && !on_bytes(bytes)) return "given up";
    }
    return crc == entry.crc ? std::string{} : "the CRC is not that of the MANIFEST";
}

}  // namespace ferry::log_reader
