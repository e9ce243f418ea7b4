#include "ferry/platform/sim/sim_file_system.hpp"

#include <algorithm>
#include <cerrno>

#include "sim_core.hpp"
#include "sim_file.hpp"

namespace ferry::sim {
namespace {

using Guard = std::lock_guard<std::mutex>;

Error posix_like(Errc code, int number, std::string_view what) {
    return Error{code, number, 0, what};
}
Error no_such_file(std::string_view what) {
    return posix_like(Errc::not_found, ENOENT, what);
}

}  // namespace

class SimFileSystem::SimLock final : public FileLock {
public:
    SimLock(std::shared_ptr<Core> core, std::string path)
        : core_(std::move(core)), path_(std::move(path)) {}
    ~SimLock() override {
        const Guard guard(core_->mutex);
        core_->locked.erase(path_);
    }
    SimLock(const SimLock&) = delete;
    SimLock& operator=(const SimLock&) = delete;

private:
    std::shared_ptr<Core> core_;
    std::string path_;
};

SimFileSystem::SimFileSystem(const DiskImage& start, bool record)
    : core_(std::make_shared<Core>()) {
    Core& core = *core_;
    core.record = record;
    core.directories = start.directories;
    for (const auto& [path, content] : start.files) {
        auto inode = std::make_shared<Inode>();
        inode->id = core.next_inode++;
        inode->path = path;
        inode->origin = content;
        core.used += content->bytes().size();
        core.entries.emplace(path, std::move(inode));
    }
    if (record) core.journal.start = start;
}

SimFileSystem::~SimFileSystem() = default;

Result<std::unique_ptr<File>> SimFileSystem::open(const std::string& path, Open mode) {
    const std::string name = normal_path(path);
    core_->observe(Call::open, name);
    const Guard guard(core_->mutex);
    Core& core = *core_;
    const auto found = core.entries.find(name);
    const bool may_create = mode == Open::create || mode == Open::create_exclusive;
    const bool creates = may_create && found == core.entries.end();
    if (const auto kind = core.strike(Call::open, name, creates)) return fault_error(*kind, "open");
    if (found != core.entries.end()) {
        if (mode == Open::create_exclusive) return posix_like(Errc::conflict, EEXIST, "open");
        return std::unique_ptr<File>(
            std::make_unique<SimFile>(core_, found->second, mode != Open::read));
    }
    if (!may_create || !core.has_directory(parent_path(name))) return no_such_file("open");
    if (core.has_directory(name)) return posix_like(Errc::io_failed, EISDIR, "open");
    auto inode = std::make_shared<Inode>();
    inode->id = core.next_inode++;
    inode->path = name;
    core.entries.emplace(name, inode);
    core.note({.kind = Operation::Kind::create, .inode = inode->id, .path = name});
    return std::unique_ptr<File>(std::make_unique<SimFile>(core_, inode, true));
}

Status SimFileSystem::rename(const std::string& from, const std::string& to) {
    const std::string source = normal_path(from);
    const std::string target = normal_path(to);
    core_->observe(Call::rename, source);
    const Guard guard(core_->mutex);
    Core& core = *core_;
    if (const auto kind = core.strike(Call::rename, source, true))
        return fault_error(*kind, "rename");
    const auto found = core.entries.find(source);
    if (found == core.entries.end()) return no_such_file("rename");
    if (!core.has_directory(parent_path(target))) return no_such_file("rename");
    if (source == target) return ok_status();
    const InodeRef inode = found->second;
    const auto replaced = core.entries.find(target);
    if (replaced != core.entries.end()) core.used -= replaced->second->bytes().size();
    core.entries.erase(found);
    core.entries[target] = inode;
    inode->path = target;
    core.note(
        {.kind = Operation::Kind::rename, .inode = inode->id, .path = source, .target = target});
    return ok_status();
}

Status SimFileSystem::remove(const std::string& path) {
    const std::string name = normal_path(path);
    core_->observe(Call::remove, name);
    const Guard guard(core_->mutex);
    Core& core = *core_;
    if (const auto kind = core.strike(Call::remove, name, false))
        return fault_error(*kind, "unlink");
    if (core.lock_files.erase(name) > 0) return ok_status();
    const auto found = core.entries.find(name);
    if (found == core.entries.end()) return no_such_file("unlink");
    const InodeId inode = found->second->id;
    core.used -= found->second->bytes().size();
    core.entries.erase(found);
    core.note({.kind = Operation::Kind::remove, .inode = inode, .path = name});
    return ok_status();
}

Status SimFileSystem::sync_directory(const std::string& directory) {
    const std::string name = normal_path(directory);
    core_->observe(Call::sync_directory, name);
    const Guard guard(core_->mutex);
    Core& core = *core_;
    const auto kind = core.strike(Call::sync_directory, name, true);
    if (!core.has_directory(name)) return no_such_file("fsync directory");
    const bool failed = kind.has_value();
    core.note({.kind = Operation::Kind::sync_directory, .failed = failed, .path = name});
    if (failed) return posix_like(Errc::io_failed, EIO, "fsync directory");
    return ok_status();
}

Status SimFileSystem::make_directory(const std::string& directory) {
    const std::string name = normal_path(directory);
    core_->observe(Call::make_directory, name);
    const Guard guard(core_->mutex);
    Core& core = *core_;
    const auto kind = core.strike(Call::make_directory, name, true);
    if (kind) return fault_error(*kind, "mkdir");
    if (core.has_directory(name)) return ok_status();
    if (core.entries.count(name) > 0) return posix_like(Errc::conflict, EEXIST, "mkdir");
    if (!core.has_directory(parent_path(name))) return no_such_file("mkdir");
    core.directories.insert(name);
    core.note({.kind = Operation::Kind::make_directory, .path = name});
    return ok_status();
}

Result<std::vector<std::string>> SimFileSystem::list(const std::string& directory) {
    const std::string name = normal_path(directory);
    core_->observe(Call::list, name);
    const Guard guard(core_->mutex);
    Core& core = *core_;
    if (const auto kind = core.strike(Call::list, name, false))
        return fault_error(*kind, "readdir");
    if (!core.has_directory(name)) return no_such_file("opendir");
    std::set<std::string> names;
    const auto add = [&](const std::string& path) {
        if (path != name && parent_path(path) == name) {
            names.insert(path.substr(path.rfind('/') + 1));
        }
    };
    for (const auto& entry : core.entries) add(entry.first);
    for (const std::string& path : core.directories) add(path);
    for (const std::string& path : core.lock_files) add(path);
    return std::vector<std::string>(names.begin(), names.end());
}

Result<DiskSpace> SimFileSystem::space(const std::string& directory) {
    const std::string name = normal_path(directory);
    core_->observe(Call::space, name);
    const Guard guard(core_->mutex);
    Core& core = *core_;
    if (const auto kind = core.strike(Call::space, name, false))
        return fault_error(*kind, "statvfs");
    if (!core.has_directory(name)) return no_such_file("statvfs");
    return DiskSpace{core.capacity, core.capacity - std::min(core.used, core.capacity)};
}

Result<std::unique_ptr<FileLock>> SimFileSystem::lock(const std::string& path, std::string_view) {
    const std::string name = normal_path(path);
    core_->observe(Call::lock, name);
    const Guard guard(core_->mutex);
    Core& core = *core_;
    if (const auto kind = core.strike(Call::lock, name, false)) return fault_error(*kind, "flock");
    if (!core.has_directory(parent_path(name))) return no_such_file("open lock file");
    if (!core.locked.insert(name).second) {
        return posix_like(Errc::conflict, EWOULDBLOCK, "locked by another process");
    }
    core.lock_files.insert(name);
    return std::unique_ptr<FileLock>(std::make_unique<SimLock>(core_, name));
}

const Journal& SimFileSystem::journal() const {
    return core_->journal;
}

std::size_t SimFileSystem::operations() const {
    const Guard guard(core_->mutex);
    return core_->journal.operations.size();
}

DiskImage SimFileSystem::image() const {
    const Guard guard(core_->mutex);
    DiskImage image;
    image.directories = core_->directories;
    for (const auto& [path, inode] : core_->entries) {
        image.files[path] =
            inode->origin ? inode->origin : std::make_shared<const Content>(inode->own);
    }
    return image;
}

void SimFileSystem::inject(const Fault& fault) {
    const Guard guard(core_->mutex);
    core_->faults.push_back({fault, 0});
}

void SimFileSystem::clear_faults() {
    const Guard guard(core_->mutex);
    core_->faults.clear();
    core_->struck = 0;
}

std::uint64_t SimFileSystem::faults_struck() const {
    const Guard guard(core_->mutex);
    return core_->struck;
}

std::uint64_t SimFileSystem::calls() const {
    const Guard guard(core_->mutex);
    return core_->calls;
}

void SimFileSystem::set_capacity(std::uint64_t bytes) {
    const Guard guard(core_->mutex);
    core_->capacity = bytes;
}

void SimFileSystem::break_sectors(const std::string& path, std::uint64_t offset,
                                  std::uint64_t length) {
    const Guard guard(core_->mutex);
    const auto found = core_->entries.find(normal_path(path));
    FERRY_ASSERT(found != core_->entries.end(), "the file to damage exists");
    found->second->broken[offset] = offset + length;
}

void SimFileSystem::flip_bit(const std::string& path, std::uint64_t offset, unsigned bit) {
    const Guard guard(core_->mutex);
    const auto found = core_->entries.find(normal_path(path));
    FERRY_ASSERT(found != core_->entries.end(), "the file to damage exists");
    std::vector<std::byte>& bytes = found->second->change();
    FERRY_ASSERT(offset < bytes.size() && bit < 8, "the bit exists");
    bytes[offset] ^= static_cast<std::byte>(1U << bit);
}

void SimFileSystem::on_call(std::function<void(Call, const std::string& path)> observer) {
    core_->observer = std::move(observer);
}

}  // namespace ferry::sim
