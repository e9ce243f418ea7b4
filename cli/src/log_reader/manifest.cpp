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

bool parse_number(std::string_view text, int base, std::uint64_t& out) {
    const char* end = text.data() + text.size();
    const auto [stop, problem] = std::from_chars(text.data(), end, out, base);
    return problem == std::errc{} && stop == end;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    while (!text.empty()) {
        const std::size_t at = text.find(separator);
        parts.push_back(text.substr(0, at));
        text = at == std::string_view::npos ? std::string_view{} : text.substr(at + 1);
    }
    return parts;
}

// A name that could lead out of the directory is not one that a backup has.
bool is_plain_name(std::string_view name) {
    return !name.empty() && name.front() != '.' && name.find('/') == std::string_view::npos &&
           name.find('\0') == std::string_view::npos && name.size() <= 255;
}

bool parse_line(std::string_view line, Manifest& out) {
    const auto words = split(line, ' ');
    if (words.size() == 2 && words[0] == "log") return parse_number(words[1], 16, out.log_id);
    if (words.size() == 2 && words[0] == "upto") return parse_number(words[1], 10, out.upto);
    if (words.size() != 4 || words[0] != "file" || !is_plain_name(words[1])) return false;
    std::uint64_t crc = 0;
    ManifestEntry entry{std::string(words[1]), 0, 0};
    if (!parse_number(words[2], 10, entry.bytes) || !parse_number(words[3], 16, crc)) return false;
    if (crc > UINT32_MAX) return false;
    entry.crc = static_cast<std::uint32_t>(crc);
    out.files.push_back(std::move(entry));
    return true;
}

// Empty: the text is a whole manifest.
std::string parse_manifest(std::string_view text, Manifest& out) {
    const std::size_t end = text.rfind("end ");
    std::uint64_t crc = 0;
    if (end == std::string_view::npos || (end != 0 && text[end - 1] != '\n') ||
        !text.ends_with('\n') ||
        !parse_number(text.substr(end + 4, text.size() - end - 5), 16, crc)) {
        return "it has no last line; the backup was not finished";
    }
    const std::string_view covered = text.substr(0, end);
    if (crc32c(std::as_bytes(std::span(covered))) != crc) return "its CRC does not match";
    if (!covered.starts_with("ferry-backup 1\n")) {
        return "its format version is unknown to this program";
    }
    for (const std::string_view line : split(covered.substr(covered.find('\n') + 1), '\n')) {
        if (!parse_line(line, out))
            return "it has a line that makes no sense: " + std::string(line);
    }
    return {};
}

}  // namespace

std::uint64_t Manifest::total_bytes() const {
    std::uint64_t total = 0;
    for (const ManifestEntry& entry : files) total += entry.bytes;
    return total;
}

bool read_manifest(const std::string& directory, Manifest& out, std::string& why) {
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
    const auto bytes = file->view(0, static_cast<std::size_t>(file->size()));
    if (bytes.size() != file->size()) {
        why = directory + "/MANIFEST cannot be read";
        return false;
    }
    why = parse_manifest({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, out);
    if (!why.empty()) why = directory + "/MANIFEST: " + why;
    return why.empty();
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
