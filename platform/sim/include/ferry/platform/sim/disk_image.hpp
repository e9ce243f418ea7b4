#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ferry/platform/bytes.hpp"

namespace ferry::sim {

/// The bytes of one file; never changed, so that thousands of disk images can share them.
class Content {
public:
    explicit Content(std::vector<std::byte> bytes);
    [[nodiscard]] const std::vector<std::byte>& bytes() const noexcept { return bytes_; }
    [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }

private:
    std::vector<std::byte> bytes_;
    std::uint64_t hash_;
};
using ContentRef = std::shared_ptr<const Content>;

/// What a disk holds while the machine is off: every byte of it is durable.
struct DiskImage {
    std::set<std::string> directories;
    std::map<std::string, ContentRef> files;  // by normalised path

    /// Of names and contents. Equal images hash equally; 64 bits tell different ones apart.
    [[nodiscard]] std::uint64_t hash() const;
    /// Requires  the file exists.
    [[nodiscard]] const std::vector<std::byte>& bytes(const std::string& path) const;
    void put(const std::string& path, std::vector<std::byte> bytes);
    void flip_bit(const std::string& path, std::uint64_t offset, unsigned bit);
    void zero_sector(const std::string& path, std::uint64_t sector);
    void swap_sectors(const std::string& path, std::uint64_t one, std::uint64_t other);
    /// Adds the files to a directory of the real file system, for looking at with other tools.
    /// True if it worked.
    [[nodiscard]] bool save(const std::string& directory) const;
};

inline constexpr std::uint64_t sector_bytes = 512;

/// Without repeated, leading "./" or trailing slashes; "." for the empty path.
[[nodiscard]] std::string normal_path(std::string_view path);
/// The directory that holds `path`, which is normal.
[[nodiscard]] std::string parent_path(const std::string& path);

}  // namespace ferry::sim
