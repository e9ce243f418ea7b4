#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "disk.hpp"
#include "ferry/sqlite/api.hpp"

namespace ferry::simulation {

/// SQLite's file layer on simulated disks. Paths are /HOST/NAME, and each host has a disk of its
/// own. Shared memory and locks are those of one process: they go when the host is frozen.
///
/// Lifetime  One at a time; while it lives it is SQLite's default file layer. Outlives its
/// connections.
class SqliteDisks {
public:
    explicit SqliteDisks(World& world, const VirtualClock& clock);
    ~SqliteDisks();
    SqliteDisks(const SqliteDisks&) = delete;
    SqliteDisks& operator=(const SqliteDisks&) = delete;

    void add(const std::string& host, Disk& disk);
    /// From now on nothing that open connections do reaches the disk; they are to be closed.
    void freeze(const std::string& host);
    /// Every connection is closed: new ones may be opened, with nothing in shared memory.
    void thaw(const std::string& host);

    // For the functions that SQLite calls.
    struct Node {  // a file that is open somewhere
        int shared = 0;
        const void* reserved = nullptr;
        const void* pending = nullptr;
        const void* exclusive = nullptr;
        std::vector<std::unique_ptr<std::vector<char>>> shm;
        int shm_shared[SQLITE_SHM_NLOCK] = {};
        const void* shm_exclusive[SQLITE_SHM_NLOCK] = {};
    };
    struct Host {
        Disk* disk = nullptr;
        bool frozen = false;
        std::map<std::string, std::shared_ptr<Node>> nodes;
    };
    [[nodiscard]] Host* host_of(const std::string& path);
    [[nodiscard]] World& world() { return world_; }
    [[nodiscard]] const VirtualClock& clock() const { return clock_; }

private:
    World& world_;
    const VirtualClock& clock_;
    sqlite3_vfs* before_;
    std::unique_ptr<sqlite3_vfs> own_;
    std::map<std::string, Host> hosts_;
};

}  // namespace ferry::simulation
