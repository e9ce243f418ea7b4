#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ferry/platform/sim/disk_image.hpp"

namespace ferry::sim {

using InodeId = std::uint64_t;

/// One thing a program did to the disk.
struct Operation {
    enum class Kind : std::uint8_t {
        create,          // path, inode
        write,           // inode, offset, bytes
        truncate,        // inode, offset is the new size
        sync_data,       // inode, failed
        rename,          // path, target, inode
        remove,          // path
        make_directory,  // path
        sync_directory,  // path, failed
    };
    Kind kind = Kind::create;
    bool failed = false;  // the sync reported an error: nothing became durable by it
    InodeId inode = 0;
    std::string path = {};
    std::string target = {};
    std::uint64_t offset = 0;
    std::shared_ptr<const std::vector<std::byte>> bytes = {};
};

/// All that happened to a disk since it was `start`. The files of `start` have the inodes 1, 2, ...
/// in the order of their paths.
struct Journal {
    DiskImage start;
    std::vector<Operation> operations;
};

/// One line for people.
[[nodiscard]] std::string describe(const Operation& operation);

}  // namespace ferry::sim
