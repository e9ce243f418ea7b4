#include "test_vfs.hpp"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include <gtest/gtest.h>

namespace ferry::outbox {

using Kind = sim::Operation::Kind;

struct TestVfs::File {
    sqlite3_file base;  // first: SQLite sees only this
    TestVfs* vfs;
    char name[64];
    sim::InodeId inode;
    bool sync_directory;  // SQLite syncs the directory with the first sync of a new log
    bool temporary;
    sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

namespace {

using File = TestVfs::File;

File& file_of(sqlite3_file* base) {
    return *reinterpret_cast<File*>(base);
}

sqlite3_file* real_of(sqlite3_file* base) {
    return file_of(base).real();
}

int file_close(sqlite3_file* base) {
    sqlite3_file* const real = real_of(base);
    return real->pMethods == nullptr ? SQLITE_OK : real->pMethods->xClose(real);
}

int file_read(sqlite3_file* base, void* out, int bytes, sqlite3_int64 offset) {
    File& file = file_of(base);
    if (const int code = file.vfs->struck(FileCall::read, file)) return code;
    return file.real()->pMethods->xRead(file.real(), out, bytes, offset);
}

int file_write(sqlite3_file* base, const void* from, int bytes, sqlite3_int64 offset) {
    File& file = file_of(base);
    if (const int code = file.vfs->struck(FileCall::write, file)) return code;
    const int done = file.real()->pMethods->xWrite(file.real(), from, bytes, offset);
    if (done == SQLITE_OK && !file.temporary) {
        const auto* const at = static_cast<const std::byte*>(from);
        sim::Operation operation;
        operation.kind = Kind::write;
        operation.inode = file.inode;
        operation.path = file.name;
        operation.offset = static_cast<std::uint64_t>(offset);
        operation.bytes = std::make_shared<const std::vector<std::byte>>(at, at + bytes);
        file.vfs->note(std::move(operation));
    }
    return done;
}

int file_truncate(sqlite3_file* base, sqlite3_int64 size) {
    File& file = file_of(base);
    if (const int code = file.vfs->struck(FileCall::truncate, file)) return code;
    const int done = file.real()->pMethods->xTruncate(file.real(), size);
    if (done == SQLITE_OK && !file.temporary) {
        sim::Operation operation;
        operation.kind = Kind::truncate;
        operation.inode = file.inode;
        operation.path = file.name;
        operation.offset = static_cast<std::uint64_t>(size);
        file.vfs->note(std::move(operation));
    }
    return done;
}

int file_sync(sqlite3_file* base, int) {
    File& file = file_of(base);
    if (const int code = file.vfs->struck(FileCall::sync, file)) return code;
    // The real disk is not asked: its power stays on.
    if (file.temporary) return SQLITE_OK;
    sim::Operation operation;
    operation.kind = Kind::sync_data;
    operation.inode = file.inode;
    operation.path = file.name;
    file.vfs->note(operation);
    if (file.sync_directory) {
        file.sync_directory = false;
        operation = {};
        operation.kind = Kind::sync_directory;
        operation.path = ".";
        file.vfs->note(operation);
    }
    return SQLITE_OK;
}

int file_size(sqlite3_file* base, sqlite3_int64* size) {
    return real_of(base)->pMethods->xFileSize(real_of(base), size);
}
int file_lock(sqlite3_file* base, int kind) {
    return real_of(base)->pMethods->xLock(real_of(base), kind);
}
int file_unlock(sqlite3_file* base, int kind) {
    return real_of(base)->pMethods->xUnlock(real_of(base), kind);
}
int file_check_reserved(sqlite3_file* base, int* out) {
    return real_of(base)->pMethods->xCheckReservedLock(real_of(base), out);
}

int file_control(sqlite3_file* base, int operation, void* argument) {
    // Space is not reserved ahead: such writes would not be written down.
    if (operation == SQLITE_FCNTL_SIZE_HINT || operation == SQLITE_FCNTL_CHUNK_SIZE) {
        return SQLITE_OK;
    }
    return real_of(base)->pMethods->xFileControl(real_of(base), operation, argument);
}

int file_sector_size(sqlite3_file*) {
    return static_cast<int>(sim::sector_bytes);
}
int file_characteristics(sqlite3_file*) {
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}
int file_shm_map(sqlite3_file* base, int page, int bytes, int extend, void volatile** out) {
    return real_of(base)->pMethods->xShmMap(real_of(base), page, bytes, extend, out);
}

int file_shm_lock(sqlite3_file* base, int offset, int count, int flags) {
    File& file = file_of(base);
    // Slot 0 is the writer's.
    const bool writer = offset == 0 && flags == (SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE);
    if (writer) {
        if (const int code = file.vfs->struck(FileCall::lock, file)) return code;
    }
    return file.real()->pMethods->xShmLock(file.real(), offset, count, flags);
}

void file_shm_barrier(sqlite3_file* base) {
    real_of(base)->pMethods->xShmBarrier(real_of(base));
}
int file_shm_unmap(sqlite3_file* base, int remove) {
    return real_of(base)->pMethods->xShmUnmap(real_of(base), remove);
}

const sqlite3_io_methods file_methods = {2,
                                         file_close,
                                         file_read,
                                         file_write,
                                         file_truncate,
                                         file_sync,
                                         file_size,
                                         file_lock,
                                         file_unlock,
                                         file_check_reserved,
                                         file_control,
                                         file_sector_size,
                                         file_characteristics,
                                         file_shm_map,
                                         file_shm_lock,
                                         file_shm_barrier,
                                         file_shm_unmap,
                                         nullptr,
                                         nullptr};

TestVfs& vfs_of(sqlite3_vfs* vfs) {
    return *static_cast<TestVfs*>(vfs->pAppData);
}

std::string file_name(const char* path) {
    return std::filesystem::path(path).filename().string();
}

int vfs_open(sqlite3_vfs* vfs, sqlite3_filename path, sqlite3_file* base, int flags, int* out) {
    TestVfs& self = vfs_of(vfs);
    File& file = file_of(base);
    std::memset(static_cast<void*>(&file), 0, sizeof file);
    file.vfs = &self;
    file.temporary = path == nullptr;
    const bool existed = path != nullptr && std::filesystem::exists(path);
    const int code = self.real()->xOpen(self.real(), path, file.real(), flags, out);
    if (file.real()->pMethods == nullptr) return code;
    file.base.pMethods = &file_methods;
    if (path != nullptr) {
        const std::string name = file_name(path);
        std::snprintf(file.name, sizeof file.name, "%s", name.c_str());
        file.inode = self.inode_of(name, !existed);
        file.sync_directory = (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) != 0;
    }
    return code;
}

int vfs_delete(sqlite3_vfs* vfs, const char* path, int sync_directory) {
    TestVfs& self = vfs_of(vfs);
    const int code = self.real()->xDelete(self.real(), path, sync_directory);
    if (code == SQLITE_OK) self.note_removal(file_name(path), sync_directory != 0);
    return code;
}

}  // namespace

TestVfs::TestVfs()
    : real_(sqlite3_vfs_find(nullptr)),
      own_(std::make_unique<sqlite3_vfs>(*real_)),
      name_("ferry-test") {
    own_->szOsFile = real_->szOsFile + static_cast<int>(sizeof(File));
    own_->zName = name_.c_str();
    own_->pAppData = this;
    own_->pNext = nullptr;
    own_->xOpen = vfs_open;
    own_->xDelete = vfs_delete;
    sqlite3_vfs_register(own_.get(), 0);
}

TestVfs::~TestVfs() {
    sqlite3_vfs_unregister(own_.get());
}

TestVfs::Connection TestVfs::open(const std::string& path) {
    sqlite3* handle = nullptr;
    const int code = sqlite3_open_v2(path.c_str(), &handle,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, name_.c_str());
    EXPECT_EQ(code, SQLITE_OK) << path;
    sqlite3_extended_result_codes(handle, 1);
    sqlite3_busy_timeout(handle, 1);
    return Connection(handle);
}

void TestVfs::record(const std::string& directory) {
    journal_ = {};
    inodes_.clear();
    next_inode_ = 1;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        std::ifstream in(entry.path(), std::ios::binary);
        const std::string bytes{std::istreambuf_iterator<char>(in), {}};
        const auto* const at = reinterpret_cast<const std::byte*>(bytes.data());
        journal_.start.put(entry.path().filename().string(), {at, at + bytes.size()});
    }
    for (const auto& file : journal_.start.files) inodes_[file.first] = next_inode_++;
    recording_ = true;
}

sim::InodeId TestVfs::inode_of(const std::string& name, bool create) {
    const auto known = inodes_.find(name);
    if (known != inodes_.end() && !create) return known->second;
    const sim::InodeId inode = next_inode_++;
    inodes_[name] = inode;
    sim::Operation operation;
    operation.kind = Kind::create;
    operation.inode = inode;
    operation.path = name;
    note(std::move(operation));
    return inode;
}

void TestVfs::note_removal(const std::string& path, bool synced) {
    inodes_.erase(path);
    sim::Operation operation;
    operation.kind = Kind::remove;
    operation.path = path;
    note(operation);
    if (!synced) return;
    operation = {};
    operation.kind = Kind::sync_directory;
    operation.path = ".";
    note(operation);
}

void TestVfs::note(sim::Operation operation) {
    if (recording_) journal_.operations.push_back(std::move(operation));
}

void TestVfs::fail(FileCall call, std::string suffix, std::uint64_t at, int code, bool all) {
    fault_ = {call, std::move(suffix), at, code, all};
    counted_ = 0;
    struck_ = 0;
}

std::uint64_t TestVfs::heal() {
    fault_ = {};
    return struck_;
}

int TestVfs::struck(FileCall call, const File& file) {
    if (fault_.at == 0 || call != fault_.call) return SQLITE_OK;
    if (!std::string_view(file.name).ends_with(fault_.suffix)) return SQLITE_OK;
    ++counted_;
    if (fault_.all ? counted_ < fault_.at : counted_ != fault_.at) return SQLITE_OK;
    ++struck_;
    return fault_.code;
}

}  // namespace ferry::outbox
