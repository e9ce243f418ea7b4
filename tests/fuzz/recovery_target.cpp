#include <vector>

#include "codec.hpp"
#include "ferry/log/commit_log.hpp"
#include "ferry/log/format.hpp"
#include "ferry/platform/crc32c.hpp"
#include "ferry/platform/sim/sim_clock.hpp"
#include "ferry/platform/sim/sim_file_system.hpp"
#include "input.hpp"
#include "targets.hpp"

namespace ferry::fuzz {
namespace {

namespace format = log::format;

log::Options options() {
    log::Options o;
    o.segment_bytes = 32 * 1024;
    o.batch_bytes_max = 16 * 1024;
    o.spare_segments = 0;
    o.cache_bytes = 32 * 1024;
    return o;
}

// Random bytes do not get past a CRC. Where the input asks for it, the right one is put in, so that
// the code behind it is reached.
void repair(std::vector<std::byte>& file, std::uint8_t what) {
    if ((what & 1U) != 0 && file.size() >= 56)
        store_le(file.data() + 52, crc32c(Bytes(file).first(52)));
    std::uint32_t previous = 0;
    for (std::size_t at = format::segment_header_bytes;
         at + format::batch_header_bytes <= file.size();) {
        std::byte* const batch = file.data() + at;
        const auto length = load_le<std::uint32_t>(batch + 32);
        if (load_le<std::uint32_t>(batch) != format::batch_magic ||
            length > file.size() - at - format::batch_header_bytes)
            return;
        if ((what & 2U) != 0 && previous != 0) store_le(batch + 40, previous);
        std::size_t record = format::batch_header_bytes;
        const auto base = load_le<std::uint64_t>(batch + 16);
        while ((what & 4U) != 0 && record + 8 <= format::batch_header_bytes + length) {
            const auto size = load_le<std::uint32_t>(batch + record);
            if (size == 0 || size > format::batch_header_bytes + length - record - 8) break;
            store_le(batch + record + 4,
                     log::record_crc(base + record, Bytes(batch + record + 8, size)));
            record += 8 + size;
        }
        if ((what & 8U) != 0) {
            store_le(batch + 4, crc32c(Bytes(batch + 8, format::batch_header_bytes - 8 + length)));
        }
        previous = load_le<std::uint32_t>(batch + 4);
        at += log::padded(format::batch_header_bytes + length);
    }
}

// A file: u8 kind, u8 repairs, u8 base number, u8 length of its header's bytes and they, u16 length
// of the rest and it. Its name says what its header says unless the kind has bit 2.
bool add_file(Input& input, sim::DiskImage& image) {
    if (input.empty()) return false;
    const std::uint8_t kind = input.u8();
    const std::uint8_t repairs = input.u8();
    std::uint64_t base = std::uint64_t{input.u8() % 4U} * 32 * 1024;
    std::uint64_t epoch = 1 + (repairs >> 6);
    const Bytes header = input.take(input.u8());
    const Bytes body = input.take(input.u16());
    std::vector<std::byte> file(header.begin(), header.end());
    if (kind % 4 != 3) file.resize(format::segment_header_bytes);
    file.insert(file.end(), body.begin(), body.end());
    if ((repairs & 16U) == 0 && kind % 4 != 3)
        file.resize(format::segment_header_bytes + options().segment_bytes);
    if (kind % 4 != 3) repair(file, repairs);
    if ((kind & 4U) == 0 && file.size() >= 40) {
        epoch = load_le<std::uint64_t>(file.data() + 24);
        base = load_le<std::uint64_t>(file.data() + 32);
    }
    const char* const endings[] = {".seg", ".seg", ".cmp", ".ckp"};
    char name[64];
    std::snprintf(name, sizeof name, "d/%016llx-%016llx%s", static_cast<unsigned long long>(base),
                  static_cast<unsigned long long>(epoch), endings[kind % 4]);
    image.put(name, std::move(file));
    return true;
}

}  // namespace

void recovery(Bytes bytes) {
    Input input(bytes);
    sim::DiskImage image;
    image.directories = {".", "d"};
    for (int files = 0; files < 4 && add_file(input, image); ++files) {
    }
    sim::SimFileSystem files(image, false);
    SeededRandom random(1);
    sim::SimClock clock;
    auto opened = log::CommitLog::open(files, random, clock, "d", options());
    if (!opened.ok()) {
        const Errc code = opened.error().code;
        if (code == Errc::corrupt || code == Errc::rejected) {
            // What is refused stays as it was.
            for (const auto& [name, content] : image.files) {
                const sim::DiskImage after = files.image();
                require(after.files.count(name) == 1 && after.bytes(name) == content->bytes());
            }
        }
        return;
    }
    const auto log = std::move(opened).value();
    std::uint64_t last = 0;
    const Status replayed = log->replay([&](const log::Place& place, Bytes body) {
        require(!body.empty() && place.position >= last);
        last = place.position + 1;
        return ok_status();
    });
    replayed.ignore("damage may come to light as late as here");
    if (!replayed.ok()) return;
    const Bytes text = as_bytes("after recovery");
    const log::Place place = log->append({&text, 1});
    require(place.position >= last);
    log->submit();
    while (log->write_once() || log->housekeep_once()) {
    }
    require(log->failed() || log->durable() > place.position);
    log->close();
}

}  // namespace ferry::fuzz
