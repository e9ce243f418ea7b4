#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ferry/platform/sim/sim_file_system.hpp"

namespace ferry::sim {

/// A file's bytes, copied from the start image only when first changed.
struct Inode {
    InodeId id = 0;
    std::string path;  // the last name it had, for faults and messages
    ContentRef origin;
    std::vector<std::byte> own;
    std::map<std::uint64_t, std::uint64_t> broken;  // begin -> end of unreadable ranges

    [[nodiscard]] const std::vector<std::byte>& bytes() const {
        return origin ? origin->bytes() : own;
    }
    std::vector<std::byte>& change() {
        if (origin) own = origin->bytes();
        origin.reset();
        return own;
    }
};
using InodeRef = std::shared_ptr<Inode>;

/// The state all files of one SimFileSystem share; guarded by `mutex`.
struct SimFileSystem::Core {
    std::mutex mutex;
    bool record = true;
    Journal journal;
    std::map<std::string, InodeRef> entries;
    std::set<std::string> directories;
    std::set<std::string> lock_files;  // listed, but not journalled
    std::set<std::string> locked;
    InodeId next_inode = 1;
    std::uint64_t capacity = 1ULL << 40;
    std::uint64_t used = 0;

    struct ActiveFault {
        Fault fault;
        std::uint64_t seen = 0;
    };
    std::vector<ActiveFault> faults;
    std::uint64_t struck = 0;
    std::uint64_t calls = 0;
    std::function<void(Call, const std::string&)> observer;

    /// To be called, unlocked, at the head of every call.
    void observe(Call call, const std::string& path) const {
        if (observer) observer(call, path);
    }
    /// Counts the call; tells which fault hits it. `takes_space`: an out_of_space fault applies to
    /// it.
    std::optional<Fault::Kind> strike(Call call, const std::string& path, bool takes_space);
    void note(Operation operation) {
        if (record) journal.operations.push_back(std::move(operation));
    }
    [[nodiscard]] bool has_directory(const std::string& path) const {
        return path == "." || path == "/" || directories.count(path) > 0;
    }
    /// Writes as much as the disk has room for; returns how much.
    std::size_t store(Inode& inode, std::uint64_t offset, Bytes data);
    void resize(Inode& inode, std::uint64_t size);
};

Error fault_error(Fault::Kind kind, std::string_view what, std::uint64_t position = 0);

}  // namespace ferry::sim
