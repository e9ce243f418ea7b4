// What a power cut leaves: the rules.
//
// Every file has a base, the content that is known to be on the disk, and the operations since then
// in order. A successful sync turns pending ones into durable ones, and durable ones at the front
// are folded into the base. An operation whose sync failed is in limbo: later syncs do not reach
// it, so it stays in the list, and so does everything behind it, because order matters where they
// overlap. Names are handled alike, with one list for all directories.

#include "crash_model.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "ferry/platform/assert.hpp"
#include "hash.hpp"

namespace ferry::sim {
namespace {

constexpr std::size_t all_cuts_max = 8;  // writes of more sectors are cut at some places only

std::vector<std::uint64_t> cuts(std::uint64_t sectors) {
    std::vector<std::uint64_t> places;
    if (sectors < 2) return places;
    if (sectors > all_cuts_max) return {1, 2, sectors / 2, sectors - 2, sectors - 1};
    for (std::uint64_t k = 1; k < sectors; ++k) places.push_back(k);
    return places;
}

std::uint64_t sectors_of(const Operation& operation) {
    const std::uint64_t end = operation.offset + operation.bytes->size();
    return (end + sector_bytes - 1) / sector_bytes - operation.offset / sector_bytes;
}

bool survives_tear(const Tear& tear, std::uint64_t sector, std::uint64_t sectors) {
    switch (tear.kept) {
        case Tear::Kept::head:
            return sector < tear.sectors;
        case Tear::Kept::tail:
            return sector >= sectors - tear.sectors;
        case Tear::Kept::all_but:
            return sector != tear.sectors;
    }
    return true;
}

}  // namespace

CrashModel::CrashModel(const Journal& journal, Profile profile, std::uint64_t seed)
    : journal_(journal), profile_(profile), seed_(seed) {
    names_.directories = journal.start.directories;
    InodeId next = 1;
    for (const auto& [path, content] : journal.start.files) {
        names_.files.emplace(path, next);
        files_[next] = FileState{content, content->bytes().size(), {}};
        ++next;
    }
}

void CrashModel::advance(std::size_t point) {
    FERRY_ASSERT(point >= point_ && point <= journal_.operations.size(), "crash points only grow");
    for (; point_ < point; ++point_) apply(point_);
    // Once for all syncs on the way: each folding copies the file.
    for (auto& entry : files_) {
        if (std::exchange(entry.second.synced, false)) fold_data(entry.second);
    }
    contents_.clear();
    collect();
}

void CrashModel::apply(std::size_t index) {
    const Operation& operation = journal_.operations[index];
    switch (operation.kind) {
        case Operation::Kind::create:
            files_[operation.inode].base =
                std::make_shared<const Content>(std::vector<std::byte>{});
            [[fallthrough]];
        case Operation::Kind::remove:
        case Operation::Kind::rename:
        case Operation::Kind::make_directory:
            add_name(index);
            break;
        case Operation::Kind::write:
        case Operation::Kind::truncate:
            add_data(index);
            break;
        case Operation::Kind::sync_data:
            sync_data(operation);
            break;
        case Operation::Kind::sync_directory:
            sync_names(operation);
            break;
    }
    const bool is_sync = operation.kind == Operation::Kind::sync_data ||
                         operation.kind == Operation::Kind::sync_directory;
    if (profile_ == Profile::prefix_only && is_sync && !operation.failed) keep_everything();
}

void CrashModel::add_data(std::size_t index) {
    const Operation& operation = journal_.operations[index];
    FileState& file = files_.at(operation.inode);
    const bool is_write = operation.kind == Operation::Kind::write;
    const std::uint64_t end = operation.offset + (is_write ? operation.bytes->size() : 0);
    file.operations.push_back({.operation = index, .grows = end > file.size});
    file.size = is_write ? std::max(file.size, end) : end;
}

// A directory is written in whole blocks, so that any change in it brings along what a failed sync
// of it left behind.
void CrashModel::add_name(std::size_t index) {
    const Operation& operation = journal_.operations[index];
    const auto touches = [](const Operation& one, const std::string& directory) {
        return parent_path(one.path) == directory ||
               (one.kind == Operation::Kind::rename && parent_path(one.target) == directory);
    };
    for (NameOp& name : name_ops_) {
        const Operation& older = journal_.operations[name.operation];
        const bool rewritten = touches(older, parent_path(operation.path)) ||
                               (operation.kind == Operation::Kind::rename &&
                                touches(older, parent_path(operation.target)));
        if (name.fate == Fate::limbo && rewritten) name.fate = Fate::pending;
    }
    name_ops_.push_back({.operation = index});
}

void CrashModel::sync_data(const Operation& operation) {
    FileState& file = files_.at(operation.inode);
    bool grew = false;
    for (DataOp& data : file.operations) {
        if (data.fate != Fate::pending) continue;
        data.fate = operation.failed ? Fate::limbo : Fate::durable;
        grew = grew || data.grows;
    }
    if (operation.failed) return;
    file.synced = true;
    if (profile_ != Profile::ext4_ordered) return;
    const bool is_new = std::any_of(name_ops_.begin(), name_ops_.end(), [&](const NameOp& name) {
        return journal_.operations[name.operation].inode == operation.inode;
    });
    if (grew || is_new) keep_all_names();
}

void CrashModel::fold_data(FileState& file) {
    std::size_t durable = 0;
    while (durable < file.operations.size() && file.operations[durable].fate == Fate::durable) {
        ++durable;
    }
    if (durable == 0) return;
    std::vector<std::byte> bytes = file.base->bytes();
    for (std::size_t i = 0; i < durable; ++i) {
        write(bytes, journal_.operations[file.operations[i].operation], nullptr);
    }
    file.base = std::make_shared<const Content>(std::move(bytes));
    file.operations.erase(file.operations.begin(),
                          file.operations.begin() + static_cast<std::ptrdiff_t>(durable));
}

void CrashModel::keep_everything() {
    for (auto& entry : files_) {
        for (DataOp& data : entry.second.operations) {
            if (data.fate == Fate::pending) data.fate = Fate::durable;
        }
        fold_data(entry.second);
    }
    keep_all_names();
}

void CrashModel::sync_names(const Operation& operation) {
    for (NameOp& name : name_ops_) {
        if (name.fate != Fate::pending) continue;
        const Operation& change = journal_.operations[name.operation];
        const bool is_rename = change.kind == Operation::Kind::rename;
        const bool of_source = parent_path(change.path) == operation.path;
        const bool of_target = is_rename && parent_path(change.target) == operation.path;
        if (!of_source && !of_target) continue;
        if (operation.failed) {
            name.fate = Fate::limbo;
            continue;
        }
        name.source_synced = name.source_synced || of_source;
        name.target_synced = name.target_synced || of_target || !is_rename;
        if (name.source_synced && name.target_synced) name.fate = Fate::durable;
    }
    fold_names();
}

void CrashModel::keep_all_names() {
    for (NameOp& name : name_ops_) {
        if (name.fate == Fate::pending) name.fate = Fate::durable;
    }
    fold_names();
}

void CrashModel::fold_names() {
    while (!name_ops_.empty() && name_ops_.front().fate == Fate::durable) {
        apply_name(names_, journal_.operations[name_ops_.front().operation]);
        name_ops_.pop_front();
    }
}

void CrashModel::apply_name(Names& names, const Operation& operation) {
    switch (operation.kind) {
        case Operation::Kind::create:
            names.files[operation.path] = operation.inode;
            return;
        case Operation::Kind::rename: {
            names.files[operation.target] = operation.inode;
            const auto source = names.files.find(operation.path);
            // The creation of the source may have been lost, or somebody else may have its name by
            // now.
            const bool same = source != names.files.end() && source->second == operation.inode;
            if (same) names.files.erase(source);
            return;
        }
        case Operation::Kind::remove:
            names.files.erase(operation.path);
            return;
        case Operation::Kind::make_directory:
            names.directories.insert(operation.path);
            return;
        default:
            return;
    }
}

void CrashModel::collect() {
    pending_.clear();
    std::set<InodeId> reachable;
    for (const auto& entry : names_.files) reachable.insert(entry.second);
    for (NameOp& name : name_ops_) {
        reachable.insert(journal_.operations[name.operation].inode);
        if (name.fate == Fate::durable) continue;
        pending_.push_back({name.operation, true, {}});
    }
    // A file that no name leads to any more, not even after losing every pending change, is gone.
    for (auto& [inode, file] : files_) {
        // Only the operations go: the program may still hold the file open and write.
        if (reachable.count(inode) == 0) file.operations.clear();
        for (const DataOp& data : file.operations) {
            if (data.fate == Fate::durable) continue;
            pending_.push_back({data.operation, false, tears_of(data)});
        }
    }
    std::sort(pending_.begin(), pending_.end(),
              [](const Pending& a, const Pending& b) { return a.operation < b.operation; });
    std::unordered_map<std::size_t, std::size_t> index_of;
    for (std::size_t i = 0; i < pending_.size(); ++i) index_of[pending_[i].operation] = i;
    for (NameOp& name : name_ops_) {
        const auto found = index_of.find(name.operation);
        name.index = found == index_of.end() ? not_pending : found->second;
    }
    for (auto& entry : files_) {
        for (DataOp& data : entry.second.operations) {
            const auto found = index_of.find(data.operation);
            data.index = found == index_of.end() ? not_pending : found->second;
        }
    }
}

std::vector<Tear> CrashModel::tears_of(const DataOp& data) const {
    using Kept = Tear::Kept;
    using Rest = Tear::Rest;
    std::vector<Tear> tears;
    const Operation& operation = journal_.operations[data.operation];
    if (operation.kind != Operation::Kind::write) return tears;
    const std::uint64_t sectors = sectors_of(operation);
    const std::vector<std::uint64_t> places = cuts(sectors);
    for (const std::uint64_t k : places) tears.push_back({Kept::head, k, Rest::absent});
    if (profile_ == Profile::prefix_only) return tears;
    for (const std::uint64_t k : places) tears.push_back({Kept::tail, k, Rest::zeros});
    if (sectors > 2) {
        tears.push_back({Kept::all_but, sectors / 2, Rest::zeros});
        if (sectors > 3) tears.push_back({Kept::all_but, 1, Rest::zeros});
    }
    if (!data.grows || profile_ == Profile::ext4_ordered) return tears;
    for (const Rest rest : {Rest::zeros, Rest::garbage, Rest::stale}) {
        tears.push_back({Kept::head, 0, rest});
        if (sectors > 1) tears.push_back({Kept::head, 1, rest});
        if (sectors > 2) tears.push_back({Kept::head, sectors / 2, rest});
        if (sectors > 1) tears.push_back({Kept::tail, 1, rest});
    }
    return tears;
}

std::byte CrashModel::filler(const Operation& operation, const Tear& tear, std::uint64_t at) const {
    if (tear.rest == Tear::Rest::stale) {
        // The neighbour that was created last before this file: most likely one of the same kind.
        auto other = files_.lower_bound(operation.inode);
        while (other != files_.begin()) {
            --other;
            const auto& bytes = other->second.base->bytes();
            if (at < bytes.size()) return bytes[at];
        }
    }
    if (tear.rest == Tear::Rest::garbage || tear.rest == Tear::Rest::stale) {
        return static_cast<std::byte>(mix(seed_ + operation.inode, at) >> 17);
    }
    return std::byte{0};
}

void CrashModel::write(std::vector<std::byte>& bytes, const Operation& operation,
                       const Tear* tear) const {
    if (operation.kind == Operation::Kind::truncate) {
        bytes.resize(operation.offset);
        return;
    }
    const std::vector<std::byte>& data = *operation.bytes;
    const std::uint64_t offset = operation.offset;
    const std::uint64_t end = offset + data.size();
    if (tear == nullptr) {
        if (bytes.size() < end) bytes.resize(end);
        if (!data.empty()) std::memcpy(bytes.data() + offset, data.data(), data.size());
        return;
    }
    const std::uint64_t old_size = bytes.size();
    const std::uint64_t first = offset / sector_bytes;
    const std::uint64_t sectors = sectors_of(operation);
    if (tear->rest != Tear::Rest::absent && old_size < end) {
        bytes.resize(end);
        for (std::uint64_t at = old_size; at < end; ++at) bytes[at] = filler(operation, *tear, at);
    }
    for (std::uint64_t sector = 0; sector < sectors; ++sector) {
        if (!survives_tear(*tear, sector, sectors)) continue;
        const std::uint64_t begin = std::max(offset, (first + sector) * sector_bytes);
        const std::uint64_t stop = std::min(end, (first + sector + 1) * sector_bytes);
        if (bytes.size() < stop) bytes.resize(stop);
        std::memcpy(bytes.data() + begin, data.data() + (begin - offset), stop - begin);
    }
}

ContentRef CrashModel::content(InodeId inode, const Outcome& outcome) const {
    const FileState& file = files_.at(inode);
    if (file.operations.empty()) return file.base;
    std::string key = std::to_string(inode);  // exact: two choices must never share their content
    for (const DataOp& data : file.operations) {
        if (data.index == not_pending) continue;
        key.push_back(outcome.survives[data.index] ? '+' : '-');
        if (data.index != outcome.torn) continue;
        const auto part = [&](auto value) { key += std::to_string(value) + ","; };
        part(static_cast<int>(outcome.tear.kept));
        part(outcome.tear.sectors);
        part(static_cast<int>(outcome.tear.rest));
    }
    ContentRef& known = contents_[key];
    if (known) return known;
    std::vector<std::byte> bytes = file.base->bytes();
    for (const DataOp& data : file.operations) {
        if (data.index != not_pending && !outcome.survives[data.index]) continue;
        const bool torn = data.index != not_pending && data.index == outcome.torn;
        write(bytes, journal_.operations[data.operation], torn ? &outcome.tear : nullptr);
    }
    known = std::make_shared<const Content>(std::move(bytes));
    return known;
}

DiskImage CrashModel::build(const Outcome& outcome) const {
    Names names = names_;
    for (const NameOp& name : name_ops_) {
        const bool survives = name.index == not_pending || outcome.survives[name.index];
        if (survives) apply_name(names, journal_.operations[name.operation]);
    }
    DiskImage image;
    image.directories = std::move(names.directories);
    for (const auto& [path, inode] : names.files) {
        const std::string parent = parent_path(path);
        const bool has_parent =
            parent == "." || parent == "/" || image.directories.count(parent) > 0;
        if (has_parent) image.files.emplace(path, content(inode, outcome));
    }
    return image;
}

}  // namespace ferry::sim
