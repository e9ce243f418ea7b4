#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

// Builds data directories byte by byte from docs/storage-format.md. Like the reader it shares
// nothing with the broker's log; it does not even share the reader's CRC.
namespace ferry::log_reader_test {

inline std::uint32_t plain_crc(const std::string& bytes, std::uint32_t seed = 0) {
    std::uint32_t crc = ~seed;
    for (const char c : bytes) {
        crc ^= static_cast<unsigned char>(c);
        for (int bit = 0; bit < 8; ++bit) crc = crc & 1U ? crc >> 1 ^ 0x82F63B78U : crc >> 1;
    }
    return ~crc;
}

inline std::string little(std::uint64_t value, int bytes) {
    std::string out;
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xFFU);
    return out;
}
inline std::string u32(std::uint64_t value) {
    return little(value, 4);
}
inline std::string u64(std::uint64_t value) {
    return little(value, 8);
}

inline std::string hex16(std::uint64_t value) {
    std::array<char, 17> text{};
    std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(value));
    return text.data();
}

/// A directory of its own, removed at the end.
class TemporaryDirectory {
public:
    TemporaryDirectory() {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "ferry-log-XXXXXX").string();
        path_ = ::mkdtemp(pattern.data());
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    [[nodiscard]] const std::string& path() const { return path_; }
    void write(const std::string& name, const std::string& bytes) const {
        std::ofstream(path_ + "/" + name, std::ios::binary) << bytes;
    }

private:
    std::string path_;
};

constexpr std::uint64_t log_id = 0x1122334455667788;

struct BatchSpec {
    std::vector<std::string> bodies;
    std::uint64_t durable_upto = 0;
};

/// One plain segment in the making.
class SegmentBytes {
public:
    SegmentBytes(std::uint64_t base, std::uint64_t epoch, std::uint32_t previous_crc = 0,
                 std::uint64_t capacity = 64 << 10)
        : base_(base), epoch_(epoch), end_(base), previous_crc_(previous_crc) {
        std::string header = "FRYSEG01" + u32(1) + u32(0) + u64(log_id) + u64(epoch) + u64(base) +
                             u64(capacity) + u32(previous_crc);
        header += u32(plain_crc(header));
        header.resize(4096, '\0');
        bytes_ = header;
        capacity_ = capacity;
    }

    /// Position of the batch.
    std::uint64_t add(const BatchSpec& spec) {
        const std::uint64_t position = end_;
        std::string records;
        for (const std::string& body : spec.bodies) {
            const std::string length = u32(body.size());
            const std::uint64_t at = position + 64 + records.size();
            records += length + u32(plain_crc(u64(at) + length + body)) + body;
        }
        const std::string covered = u64(epoch_) + u64(position) + u64(spec.durable_upto) +
                                    u32(records.size()) + u32(spec.bodies.size()) +
                                    u32(previous_crc_) + u32(0) + u64(1'700'000'000'000) + u64(0) +
                                    records;
        previous_crc_ = plain_crc(covered);
        std::string batch = "FBAT" + u32(previous_crc_) + covered;
        batch.resize((batch.size() + 511) / 512 * 512, '\0');
        bytes_ += batch;
        end_ += batch.size();
        return position;
    }
    [[nodiscard]] std::uint64_t end() const { return end_; }
    [[nodiscard]] std::uint32_t last_crc() const { return previous_crc_; }
    [[nodiscard]] std::string name() const { return hex16(base_) + "-" + hex16(epoch_) + ".seg"; }
    [[nodiscard]] std::size_t offset(std::uint64_t position) const {
        return 4096 + static_cast<std::size_t>(position - base_);
    }
    std::string& bytes() { return bytes_; }
    /// The file as it lies on disk: written ahead with zeros.
    [[nodiscard]] std::string file() const {
        std::string whole = bytes_;
        whole.resize(4096 + capacity_, '\0');
        return whole;
    }

private:
    std::uint64_t base_;
    std::uint64_t epoch_;
    std::uint64_t end_;
    std::uint64_t capacity_ = 0;
    std::uint32_t previous_crc_;
    std::string bytes_;
};

struct Listed {
    std::uint64_t base = 0;
    std::uint64_t epoch = 0;
    std::uint64_t end = 0;
};

struct NamedFile {
    std::string name;
    std::string bytes;
};

inline NamedFile checkpoint_file(std::uint64_t at, std::uint64_t epoch,
                                 const std::vector<Listed>& segments,
                                 const std::string& state = "state") {
    std::string list;
    for (const Listed& each : segments) {
        list += u64(each.base) + u64(each.epoch) + u64(each.end) + u64(0);
    }
    std::string header = "FRYCKP01" + u32(1) + u32(0) + u64(log_id) + u64(epoch) + u64(at) +
                         u64(at) + u64(state.size()) + u64(1'700'000'000'000) +
                         u32(segments.size()) + u32(plain_crc(list)) + u32(plain_crc(state)) +
                         u32(0);
    header += u32(plain_crc(header));
    header.resize(96, '\0');
    return {hex16(at) + "-" + hex16(epoch) + ".ckp", header + list + state};
}

inline NamedFile compacted_file(std::uint64_t base, std::uint64_t epoch, std::uint64_t end,
                                const std::vector<std::pair<std::uint64_t, std::string>>& records) {
    std::string entries;
    for (const auto& [position, body] : records) {
        const std::string covered = u64(position) + u32(body.size());
        entries += covered + u32(plain_crc(covered + body)) + body;
    }
    std::string header = "FRYMCP01" + u32(1) + u32(0) + u64(log_id) + u64(epoch) + u64(base) +
                         u64(end) + u32(0) + u64(4096 + entries.size());
    header += u32(plain_crc(header));
    header.resize(4096, '\0');
    std::string index = u32(records.empty() ? 0 : 1);
    if (!records.empty()) index += u64(records.front().first) + u64(4096);
    index += u32(plain_crc(index));
    return {hex16(base) + "-" + hex16(epoch) + ".cmp", header + entries + index};
}

}  // namespace ferry::log_reader_test
