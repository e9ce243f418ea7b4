#include "sim_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ferry::sim {
namespace {

using Guard = std::lock_guard<std::mutex>;

// A bug of the code under test that writes at 2^60 must fail like a real disk, not eat the memory.
constexpr std::uint64_t file_bytes_max = 1ULL << 31;

}  // namespace

const char* name_of(Call call) {
    static constexpr const char* names[] = {
        "open",   "write",          "read",           "sync_data", "truncate", "size", "rename",
        "remove", "sync_directory", "make_directory", "list",      "space",    "lock"};
    return names[static_cast<std::size_t>(call)];
}

Error fault_error(Fault::Kind kind, std::string_view what, std::uint64_t position) {
    if (kind == Fault::Kind::out_of_space) return Error{Errc::out_of_space, ENOSPC, position, what};
    return Error{Errc::io_failed, EIO, position, what};
}

std::optional<Fault::Kind> SimFileSystem::Core::strike(Call call, const std::string& path,
                                                       bool takes_space) {
    ++calls;
    std::optional<Fault::Kind> hit;
    for (ActiveFault& active : faults) {
        const Fault& fault = active.fault;
        if (fault.only && *fault.only != call) continue;
        if (path.find(fault.path_contains) == std::string::npos) continue;
        ++active.seen;
        if (active.seen < fault.at || active.seen - fault.at >= fault.count) continue;
        if (fault.kind == Fault::Kind::out_of_space && !takes_space) continue;
        hit = fault.kind;
    }
    if (hit) ++struck;
    return hit;
}

void SimFileSystem::Core::resize(Inode& inode, std::uint64_t size) {
    std::vector<std::byte>& bytes = inode.change();
    const bool has_name = entries.count(inode.path) > 0 && entries[inode.path].get() == &inode;
    if (has_name) used = used - bytes.size() + size;
    bytes.resize(size);
}

std::size_t SimFileSystem::Core::store(Inode& inode, std::uint64_t offset, Bytes data) {
    if (data.empty()) return 0;
    const std::uint64_t size = inode.bytes().size();
    const std::uint64_t room = capacity - std::min(used, capacity);
    if (offset > file_bytes_max) return 0;
    const std::uint64_t end_max = std::min(file_bytes_max, std::max(size, size + room));
    // Space is counted by length: a hole costs as much as data, as in a file that was preallocated.
    if (offset >= end_max && offset + data.size() > size) return 0;
    const std::uint64_t end = std::min<std::uint64_t>(offset + data.size(), end_max);
    const std::size_t fits = end - offset;
    if (end > size) resize(inode, end);
    std::memcpy(inode.change().data() + offset, data.data(), fits);
    inode.broken.erase(inode.broken.lower_bound(offset), inode.broken.lower_bound(end));
    if (record) {
        note({.kind = Operation::Kind::write,
              .inode = inode.id,
              .path = inode.path,
              .offset = offset,
              .bytes = std::make_shared<const std::vector<std::byte>>(
                  data.begin(), data.begin() + static_cast<std::ptrdiff_t>(fits))});
    }
    return fits;
}

std::string SimFileSystem::SimFile::path() const {
    const Guard guard(core_->mutex);
    return inode_->path;
}

Status SimFileSystem::SimFile::write_at(std::uint64_t offset, Bytes data) {
    if (core_->observer) core_->observe(Call::write, path());
    const Guard guard(core_->mutex);
    if (!writable_) return Error{Errc::io_failed, EBADF, offset, "write"};
    const auto kind = core_->strike(Call::write, inode_->path, true);
    if (kind == Fault::Kind::io_error) return fault_error(*kind, "write", offset);
    const bool half = kind == Fault::Kind::short_write;
    if (kind && !half) return fault_error(*kind, "write", offset);
    const Bytes wanted = half ? data.first(data.size() / 2) : data;
    const std::size_t stored = core_->store(*inode_, offset, wanted);
    if (stored < data.size()) return Error{Errc::out_of_space, ENOSPC, offset + stored, "write"};
    return ok_status();
}

Result<std::size_t> SimFileSystem::SimFile::read_at(std::uint64_t offset, MutableBytes out) const {
    if (core_->observer) core_->observe(Call::read, path());
    const Guard guard(core_->mutex);
    const auto kind = core_->strike(Call::read, inode_->path, false);
    if (kind) return fault_error(*kind, "read", offset);
    const std::vector<std::byte>& bytes = inode_->bytes();
    if (offset >= bytes.size()) return std::size_t{0};
    const std::size_t count = std::min<std::size_t>(out.size(), bytes.size() - offset);
    for (const auto& range : inode_->broken) {
        if (range.first < offset + count && offset < range.second) {
            return Error{Errc::io_failed, EIO, std::max(offset, range.first), "read"};
        }
    }
    if (count > 0) std::memcpy(out.data(), bytes.data() + offset, count);
    return count;
}

Status SimFileSystem::SimFile::sync_data() {
    if (core_->observer) core_->observe(Call::sync_data, path());
    const Guard guard(core_->mutex);
    const bool failed = core_->strike(Call::sync_data, inode_->path, true).has_value();
    core_->note({.kind = Operation::Kind::sync_data,
                 .failed = failed,
                 .inode = inode_->id,
                 .path = inode_->path});
    // Also for ENOSPC: as the operating system's files do, see PosixFile.
    if (failed) return Error{Errc::io_failed, EIO, 0, "fdatasync"};
    return ok_status();
}

Status SimFileSystem::SimFile::truncate(std::uint64_t size) {
    if (core_->observer) core_->observe(Call::truncate, path());
    const Guard guard(core_->mutex);
    if (!writable_) return Error{Errc::io_failed, EBADF, size, "truncate"};
    const bool grows = size > inode_->bytes().size();
    const auto kind = core_->strike(Call::truncate, inode_->path, grows);
    if (kind) return fault_error(*kind, "truncate", size);
    const std::uint64_t room = core_->capacity - std::min(core_->used, core_->capacity);
    if (size > file_bytes_max || (grows && size - inode_->bytes().size() > room)) {
        return Error{Errc::out_of_space, EFBIG, size, "truncate"};
    }
    core_->resize(*inode_, size);
    core_->note({.kind = Operation::Kind::truncate,
                 .inode = inode_->id,
                 .path = inode_->path,
                 .offset = size});
    return ok_status();
}

Result<std::uint64_t> SimFileSystem::SimFile::size() const {
    if (core_->observer) core_->observe(Call::size, path());
    const Guard guard(core_->mutex);
    const auto kind = core_->strike(Call::size, inode_->path, false);
    if (kind) return fault_error(*kind, "fstat");
    return static_cast<std::uint64_t>(inode_->bytes().size());
}

}  // namespace ferry::sim
