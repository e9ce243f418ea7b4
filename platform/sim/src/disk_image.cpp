#include "ferry/platform/sim/disk_image.hpp"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "ferry/platform/assert.hpp"
#include "hash.hpp"

namespace ferry::sim {

Content::Content(std::vector<std::byte> bytes)
    : bytes_(std::move(bytes)), hash_(hash_bytes(bytes_, bytes_.size())) {}

std::uint64_t DiskImage::hash() const {
    std::uint64_t hash = directories.size();
    for (const std::string& name : directories) hash = hash_bytes(as_bytes(name), hash);
    for (const auto& [name, content] : files) {
        hash = mix(hash_bytes(as_bytes(name), hash), content->hash());
    }
    return hash;
}

const std::vector<std::byte>& DiskImage::bytes(const std::string& path) const {
    const auto found = files.find(path);
    FERRY_ASSERT(found != files.end(), "the caller asks for files that exist");
    return found->second->bytes();
}

void DiskImage::put(const std::string& path, std::vector<std::byte> bytes) {
    files[path] = std::make_shared<const Content>(std::move(bytes));
}

void DiskImage::flip_bit(const std::string& path, std::uint64_t offset, unsigned bit) {
    std::vector<std::byte> changed = bytes(path);
    FERRY_ASSERT(offset < changed.size() && bit < 8, "the bit exists");
    changed[offset] ^= static_cast<std::byte>(1U << bit);
    put(path, std::move(changed));
}

void DiskImage::zero_sector(const std::string& path, std::uint64_t sector) {
    std::vector<std::byte> changed = bytes(path);
    const std::size_t begin = sector * sector_bytes;
    FERRY_ASSERT(begin < changed.size(), "the sector exists");
    const std::size_t end = std::min<std::size_t>(begin + sector_bytes, changed.size());
    std::fill(changed.begin() + static_cast<std::ptrdiff_t>(begin),
              changed.begin() + static_cast<std::ptrdiff_t>(end), std::byte{0});
    put(path, std::move(changed));
}

void DiskImage::swap_sectors(const std::string& path, std::uint64_t one, std::uint64_t other) {
    std::vector<std::byte> changed = bytes(path);
    const std::size_t a = one * sector_bytes;
    const std::size_t b = other * sector_bytes;
    FERRY_ASSERT(std::max(a, b) + sector_bytes <= changed.size() && a != b, "both sectors exist");
    const auto at = changed.begin();
    std::swap_ranges(at + static_cast<std::ptrdiff_t>(a),
                     at + static_cast<std::ptrdiff_t>(a + sector_bytes),
                     at + static_cast<std::ptrdiff_t>(b));
    put(path, std::move(changed));
}

bool DiskImage::save(const std::string& directory) const {
    namespace fs = std::filesystem;
    std::error_code failed;
    for (const std::string& name : directories)
        fs::create_directories(directory + "/" + name, failed);
    for (const auto& [name, content] : files) {
        const std::string path = directory + "/" + name;
        fs::create_directories(fs::path(path).parent_path(), failed);
        const std::unique_ptr<FILE, int (*)(FILE*)> out(std::fopen(path.c_str(), "wb"),
                                                        std::fclose);
        const auto& bytes = content->bytes();
        if (!out) return false;
        if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), out.get()) != bytes.size())
            return false;
    }
    return true;
}

std::string normal_path(std::string_view path) {
    std::string normal;
    for (const char c : path) {
        if (c == '/' && !normal.empty() && normal.back() == '/') continue;
        normal.push_back(c);
        if (normal == "./") normal.clear();
    }
    while (normal.size() > 1 && normal.back() == '/') normal.pop_back();
    return normal.empty() ? "." : normal;
}

std::string parent_path(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace ferry::sim
