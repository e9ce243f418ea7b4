#include "segment_table.hpp"

namespace ferry::log {

Result<SegmentRef> open_segment(FileSystem& files, const std::string& directory,
                                const NumberedName& name) {
    auto file = files.open(join_path(directory, name.name), FileSystem::Open::read);
    if (!file.ok()) return file.error();
    auto segment = std::make_shared<Segment>();
    segment->name = name.name;
    segment->file = std::move(file).value();
    auto size = segment->file->size();
    if (!size.ok()) return size.error();
    segment->file_bytes = size.value();
    std::vector<std::byte> bytes(format::segment_header_bytes);
    auto got = segment->file->read_at(0, bytes);
    if (!got.ok()) return got.error();
    auto header = decode_segment_header(Bytes(bytes).first(got.value()));
    if (!header.ok()) {
        Error error = header.error();
        error.position = name.position;
        return error;
    }
    segment->header = header.value();
    if (segment->header.base != name.position || segment->header.epoch != name.epoch)
        return Error{Errc::corrupt, 0, name.position, "segment header and file name disagree"};
    return segment;
}

void SegmentTable::begin(Position base) {
    const std::lock_guard lock(mutex_);
    if (!entries_.empty() && entries_.rbegin()->second.end == 0)
        entries_.rbegin()->second.end = base;
    entries_[base] = Entry{base, 0, nullptr};
}

void SegmentTable::attach(Position base, SegmentRef segment) {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(base);
    FERRY_ASSERT(found != entries_.end(), "only a segment that was begun can be attached");
    found->second.segment = std::move(segment);
}

void SegmentTable::insert(Entry entry) {
    const std::lock_guard lock(mutex_);
    const Position base = entry.base;
    entries_[base] = std::move(entry);
}

bool SegmentTable::replace(Position base, const SegmentRef& old, SegmentRef segment) {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(base);
    if (found == entries_.end() || found->second.segment != old) return false;
    found->second.segment = std::move(segment);
    return true;
}

std::optional<SegmentTable::Entry> SegmentTable::take(Position base) {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(base);
    if (found == entries_.end()) return std::nullopt;
    Entry entry = std::move(found->second);
    entries_.erase(found);
    return entry;
}

std::optional<SegmentTable::Entry> SegmentTable::find(Position position) const {
    const std::lock_guard lock(mutex_);
    auto found = entries_.upper_bound(position);
    if (found == entries_.begin()) return std::nullopt;
    --found;
    const Entry& entry = found->second;
    if (entry.end != 0 && position >= entry.end) return std::nullopt;
    return entry;
}

std::vector<SegmentTable::Entry> SegmentTable::snapshot() const {
    const std::lock_guard lock(mutex_);
    std::vector<Entry> out;
    out.reserve(entries_.size());
    for (const auto& [base, entry] : entries_) out.push_back(entry);
    return out;
}

std::size_t SegmentTable::size() const {
    const std::lock_guard lock(mutex_);
    return entries_.size();
}

}  // namespace ferry::log
