#include "sqlite_disk.hpp"

#include <cstring>
#include <new>

namespace ferry::simulation {
namespace {

using Host = SqliteDisks::Host;
using Node = SqliteDisks::Node;

constexpr int path_bytes_max = 512;

struct Open {
    std::unique_ptr<File> file;
    std::string path;
    Host* host = nullptr;
    std::shared_ptr<Node> node;
    int level = SQLITE_LOCK_NONE;
    int shm_held[SQLITE_SHM_NLOCK] = {};  // 0 none, 1 shared, 2 exclusive
    bool sync_directory = false;
    bool remove = false;
};

struct Handle {
    sqlite3_file base;  // first: SQLite sees only this
    Open* open;
};

Open& open_of(sqlite3_file* base) {
    return *reinterpret_cast<Handle*>(base)->open;
}

std::string directory_of(const std::string& path) {
    return sim::parent_path(sim::normal_path(path));
}

bool frozen(const Open& open) {
    return open.host->frozen;
}

int code_of(const Error& error, int otherwise) {
    return error.code == Errc::out_of_space ? SQLITE_FULL : otherwise;
}

int file_unlock(sqlite3_file* base, int level);
int file_shm_unmap(sqlite3_file* base, int remove);

int file_close(sqlite3_file* base) {
    Open* const open = reinterpret_cast<Handle*>(base)->open;
    file_unlock(base, SQLITE_LOCK_NONE);
    file_shm_unmap(base, 0);
    if (open->remove && !frozen(*open))
        open->host->disk->files().remove(open->path).ignore("a temporary file");
    delete open;
    return SQLITE_OK;
}

int file_read(sqlite3_file* base, void* out, int bytes, sqlite3_int64 offset) {
    Open& open = open_of(base);
    const auto size = static_cast<std::size_t>(bytes);
    auto* const to = static_cast<std::byte*>(out);
    const auto got = open.file->read_at(static_cast<std::uint64_t>(offset), MutableBytes(to, size));
    if (!got.ok()) return SQLITE_IOERR_READ;
    if (got.value() == size) return SQLITE_OK;
    std::memset(to + got.value(), 0, size - got.value());
    return SQLITE_IOERR_SHORT_READ;
}

int file_write(sqlite3_file* base, const void* from, int bytes, sqlite3_int64 offset) {
    Open& open = open_of(base);
    if (frozen(open)) return SQLITE_IOERR_WRITE;
    const Bytes data(static_cast<const std::byte*>(from), static_cast<std::size_t>(bytes));
    const Status done = open.file->write_at(static_cast<std::uint64_t>(offset), data);
    return done.ok() ? SQLITE_OK : code_of(done.error(), SQLITE_IOERR_WRITE);
}

int file_truncate(sqlite3_file* base, sqlite3_int64 size) {
    Open& open = open_of(base);
    if (frozen(open)) return SQLITE_IOERR_TRUNCATE;
    const Status done = open.file->truncate(static_cast<std::uint64_t>(size));
    return done.ok() ? SQLITE_OK : code_of(done.error(), SQLITE_IOERR_TRUNCATE);
}

int file_sync(sqlite3_file* base, int) {
    Open& open = open_of(base);
    if (frozen(open)) return SQLITE_IOERR_FSYNC;
    if (!open.file->sync_data().ok()) return SQLITE_IOERR_FSYNC;
    if (!open.sync_directory) return SQLITE_OK;
    // As SQLite's own layer: the name of a new log becomes durable with its first sync.
    open.sync_directory = false;
    const Status done = open.host->disk->files().sync_directory(directory_of(open.path));
    return done.ok() ? SQLITE_OK : SQLITE_IOERR_DIR_FSYNC;
}

int file_size(sqlite3_file* base, sqlite3_int64* size) {
    const auto got = open_of(base).file->size();
    if (!got.ok()) return SQLITE_IOERR_FSTAT;
    *size = static_cast<sqlite3_int64>(got.value());
    return SQLITE_OK;
}

// ---- locks: as docs of SQLite's five levels, between connections of this process ----

int file_lock(sqlite3_file* base, int level) {
    Open& open = open_of(base);
    Node& node = *open.node;
    if (open.level >= level) return SQLITE_OK;
    const bool others_exclusive = node.exclusive != nullptr && node.exclusive != &open;
    const bool others_pending = node.pending != nullptr && node.pending != &open;
    if (others_exclusive) return SQLITE_BUSY;
    if (open.level == SQLITE_LOCK_NONE) {
        if (others_pending) return SQLITE_BUSY;
        ++node.shared;
        open.level = SQLITE_LOCK_SHARED;
    }
    if (level == SQLITE_LOCK_SHARED) return SQLITE_OK;
    if (node.reserved != nullptr && node.reserved != &open) return SQLITE_BUSY;
    node.reserved = &open;
    if (level == SQLITE_LOCK_RESERVED) {
        open.level = SQLITE_LOCK_RESERVED;
        return SQLITE_OK;
    }
    node.pending = &open;
    if (node.shared > 1) {
        open.level = SQLITE_LOCK_PENDING;
        return SQLITE_BUSY;
    }
    node.exclusive = &open;
    open.level = SQLITE_LOCK_EXCLUSIVE;
    return SQLITE_OK;
}

int file_unlock(sqlite3_file* base, int level) {
    Open& open = open_of(base);
    Node& node = *open.node;
    if (open.level <= level) return SQLITE_OK;
    if (node.reserved == &open) node.reserved = nullptr;
    if (node.pending == &open) node.pending = nullptr;
    if (node.exclusive == &open) node.exclusive = nullptr;
    if (level == SQLITE_LOCK_NONE && open.level >= SQLITE_LOCK_SHARED) --node.shared;
    open.level = level;
    return SQLITE_OK;
}

int file_check_reserved(sqlite3_file* base, int* out) {
    *out = open_of(base).node->reserved != nullptr ? 1 : 0;
    return SQLITE_OK;
}

int file_control(sqlite3_file*, int, void*) {
    return SQLITE_NOTFOUND;
}
int file_sector_size(sqlite3_file*) {
    return static_cast<int>(sim::sector_bytes);
}
int file_characteristics(sqlite3_file*) {
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

int file_shm_map(sqlite3_file* base, int page, int bytes, int extend, void volatile** out) {
    Node& node = *open_of(base).node;
    const auto wanted = static_cast<std::size_t>(page);
    *out = nullptr;
    if (wanted >= node.shm.size() && extend == 0) return SQLITE_OK;
    while (wanted >= node.shm.size())
        node.shm.push_back(
            std::make_unique<std::vector<char>>(static_cast<std::size_t>(bytes), '\0'));
    *out = node.shm[wanted]->data();
    return SQLITE_OK;
}

int file_shm_lock(sqlite3_file* base, int offset, int count, int flags) {
    Open& open = open_of(base);
    Node& node = *open.node;
    const bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
    if ((flags & SQLITE_SHM_UNLOCK) != 0) {
        for (int i = offset; i < offset + count; ++i) {
            if (open.shm_held[i] == 1) --node.shm_shared[i];
            if (open.shm_held[i] == 2) node.shm_exclusive[i] = nullptr;
            open.shm_held[i] = 0;
        }
        return SQLITE_OK;
    }
    for (int i = offset; i < offset + count; ++i) {
        if (node.shm_exclusive[i] != nullptr && node.shm_exclusive[i] != &open) return SQLITE_BUSY;
        const int own = open.shm_held[i] == 1 ? 1 : 0;
        if (exclusive && node.shm_shared[i] > own) return SQLITE_BUSY;
    }
    for (int i = offset; i < offset + count; ++i) {
        if (open.shm_held[i] != 0) continue;
        if (exclusive) {
            node.shm_exclusive[i] = &open;
        } else {
            ++node.shm_shared[i];
        }
        open.shm_held[i] = exclusive ? 2 : 1;
    }
    return SQLITE_OK;
}

void file_shm_barrier(sqlite3_file*) {}

int file_shm_unmap(sqlite3_file* base, int remove) {
    file_shm_lock(base, 0, SQLITE_SHM_NLOCK, SQLITE_SHM_UNLOCK);
    if (remove != 0) open_of(base).node->shm.clear();
    return SQLITE_OK;
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

// ---- names ----

SqliteDisks& disks_of(sqlite3_vfs* vfs) {
    return *static_cast<SqliteDisks*>(vfs->pAppData);
}

int vfs_open(sqlite3_vfs* vfs, sqlite3_filename name, sqlite3_file* base, int flags, int* out) {
    SqliteDisks& disks = disks_of(vfs);
    base->pMethods = nullptr;
    const std::string path =
        name == nullptr ? "/temporary/" + std::to_string(disks.world().random.next()) : name;
    Host* const host = disks.host_of(path);
    if (host == nullptr || host->frozen) return SQLITE_CANTOPEN;
    sim::SimFileSystem& files = host->disk->files();
    const bool create = (flags & SQLITE_OPEN_CREATE) != 0;
    const bool existed = files.open(path, FileSystem::Open::read).ok();
    auto file = files.open(path, create ? FileSystem::Open::create : FileSystem::Open::write);
    if (!file.ok()) return SQLITE_CANTOPEN;
    auto open = std::make_unique<Open>();
    open->file = std::move(file).value();
    open->path = path;
    open->host = host;
    std::shared_ptr<Node>& node = host->nodes[path];
    if (node == nullptr) node = std::make_shared<Node>();
    open->node = node;
    open->remove = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
    open->sync_directory =
        !existed &&
        (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_MAIN_DB)) != 0;
    auto* const handle = new (base) Handle{{&file_methods}, nullptr};
    handle->open = open.release();
    if (out != nullptr) *out = flags;
    return SQLITE_OK;
}

int vfs_delete(sqlite3_vfs* vfs, const char* path, int sync_directory) {
    Host* const host = disks_of(vfs).host_of(path);
    if (host == nullptr || host->frozen) return SQLITE_IOERR_DELETE;
    const Status done = host->disk->files().remove(path);
    if (!done.ok()) {
        return done.error().code == Errc::not_found ? SQLITE_IOERR_DELETE_NOENT
                                                    : SQLITE_IOERR_DELETE;
    }
    host->nodes.erase(path);
    if (sync_directory == 0) return SQLITE_OK;
    return host->disk->files().sync_directory(directory_of(path)).ok() ? SQLITE_OK
                                                                       : SQLITE_IOERR_DIR_FSYNC;
}

int vfs_access(sqlite3_vfs* vfs, const char* path, int, int* out) {
    Host* const host = disks_of(vfs).host_of(path);
    *out = 0;
    if (host == nullptr) return SQLITE_OK;
    const auto file = host->disk->files().open(path, FileSystem::Open::read);
    if (file.ok()) *out = 1;
    return SQLITE_OK;
}

int vfs_full_path(sqlite3_vfs*, const char* path, int size, char* out) {
    if (std::strlen(path) + 1 > static_cast<std::size_t>(size)) return SQLITE_CANTOPEN;
    std::strcpy(out, path);
    return SQLITE_OK;
}

int vfs_randomness(sqlite3_vfs* vfs, int size, char* out) {
    for (int i = 0; i < size; ++i) out[i] = static_cast<char>(disks_of(vfs).world().random.next());
    return size;
}

int vfs_sleep(sqlite3_vfs*, int microseconds) {
    return microseconds;  // nobody else runs meanwhile: it does not help to wait
}

int vfs_time(sqlite3_vfs* vfs, sqlite3_int64* out) {
    constexpr sqlite3_int64 julian_1970_ms = 210'866'760'000'000;
    *out = julian_1970_ms + static_cast<sqlite3_int64>(disks_of(vfs).clock().now().wall_ms);
    return SQLITE_OK;
}

int vfs_day(sqlite3_vfs* vfs, double* out) {
    sqlite3_int64 now = 0;
    vfs_time(vfs, &now);
    *out = static_cast<double>(now) / 86'400'000.0;
    return SQLITE_OK;
}

int vfs_last_error(sqlite3_vfs*, int, char*) {
    return 0;
}

}  // namespace

SqliteDisks::SqliteDisks(World& world, const VirtualClock& clock)
    : world_(world),
      clock_(clock),
      before_(sqlite3_vfs_find(nullptr)),
      own_(std::make_unique<sqlite3_vfs>()) {
    own_->iVersion = 2;
    own_->szOsFile = static_cast<int>(sizeof(Handle));
    own_->mxPathname = path_bytes_max;
    own_->zName = "ferry-simulated";
    own_->pAppData = this;
    own_->xOpen = vfs_open;
    own_->xDelete = vfs_delete;
    own_->xAccess = vfs_access;
    own_->xFullPathname = vfs_full_path;
    own_->xRandomness = vfs_randomness;
    own_->xSleep = vfs_sleep;
    own_->xCurrentTime = vfs_day;
    own_->xGetLastError = vfs_last_error;
    own_->xCurrentTimeInt64 = vfs_time;
    sqlite3_vfs_register(own_.get(), 1);
    sqlite3_randomness(0, nullptr);  // its generator is seeded anew, through vfs_randomness
}

SqliteDisks::~SqliteDisks() {
    sqlite3_vfs_unregister(own_.get());
    sqlite3_vfs_register(before_, 1);
}

void SqliteDisks::add(const std::string& host, Disk& disk) {
    hosts_[host].disk = &disk;
}

void SqliteDisks::freeze(const std::string& host) {
    hosts_.at(host).frozen = true;
}

void SqliteDisks::thaw(const std::string& host) {
    hosts_.at(host).frozen = false;
    hosts_.at(host).nodes.clear();
}

Host* SqliteDisks::host_of(const std::string& path) {
    const std::size_t slash = path.find('/', 1);
    const auto at = hosts_.find(path.substr(0, slash));
    return at == hosts_.end() ? nullptr : &at->second;
}

}  // namespace ferry::simulation
