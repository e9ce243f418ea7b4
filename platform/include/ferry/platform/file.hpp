#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/platform/bytes.hpp"
#include "ferry/platform/result.hpp"

namespace ferry {

/// One open file.
///
/// Threads   read_at may run on any thread at any time; the other calls on one thread at a time.
/// Blocking  Every call may block on the disk. None may be made on an event loop, but
///           read_cached_at().
class File {
public:
    virtual ~File() = default;
    /// Writes all of `data` at `offset`, extending the file if need be.
    /// Errors    out_of_space (ENOSPC, EDQUOT, EFBIG; part of it may have been written), io_failed.
    virtual Status write_at(std::uint64_t offset, Bytes data) = 0;
    /// Fills `out` from `offset`; fewer bytes only at the end of the file. Errors: io_failed.
    virtual Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) const = 0;
    /// read_at() of what the operating system has in memory: never waits for the disk. Any thread.
    /// Errors    would_block: not all of it is there, or nobody can tell, or it cannot be read.
    virtual Result<std::size_t> read_cached_at(std::uint64_t offset, MutableBytes out) const {
        static_cast<void>(out);
        return Error{Errc::would_block, 0, offset, "only the disk has it"};
    }
    /// fdatasync. After an error nobody knows what reached the disk; the caller must not retry.
    virtual Status sync_data() = 0;
    virtual Status truncate(std::uint64_t size) = 0;
    [[nodiscard]] virtual Result<std::uint64_t> size() const = 0;
};

/// Holds an exclusive lock until destroyed.
class FileLock {
public:
    virtual ~FileLock() = default;
};

struct DiskSpace {
    std::uint64_t total_bytes = 0;
    std::uint64_t available_bytes = 0;
};

/// The only door to files, real or simulated. Paths are relative to the process or absolute.
class FileSystem {
public:
    enum class Open : std::uint8_t {
        read,              // must exist
        write,             // read and write; must exist
        create,            // read and write; created (0600) if missing
        create_exclusive,  // as create; conflict if it exists
    };
    virtual ~FileSystem() = default;
    /// Errors    not_found, conflict (create_exclusive), out_of_space, io_failed.
    virtual Result<std::unique_ptr<File>> open(const std::string& path, Open mode) = 0;
    /// Atomically replaces `to`. Durable only after sync_directory of both parents.
    virtual Status rename(const std::string& from, const std::string& to) = 0;
    /// Removes a file. Errors: not_found, io_failed.
    virtual Status remove(const std::string& path) = 0;
    /// Makes creations, renames and removals in `directory` durable.
    virtual Status sync_directory(const std::string& directory) = 0;
    /// Creates one directory (0700); fine if it exists.
    virtual Status make_directory(const std::string& directory) = 0;
    /// Names (not paths) of the entries, sorted. Errors: not_found, io_failed.
    virtual Result<std::vector<std::string>> list(const std::string& directory) = 0;
    [[nodiscard]] virtual Result<DiskSpace> space(const std::string& directory) = 0;
    /// Creates `path` if missing and locks it for this process; `note` (pid and such) is written
    /// into it. Errors    conflict (somebody else holds it), io_failed.
    virtual Result<std::unique_ptr<FileLock>> lock(const std::string& path,
                                                   std::string_view note) = 0;
};

/// The operating system's files.
[[nodiscard]] std::unique_ptr<FileSystem> make_posix_file_system();

/// Reads a whole file of at most `bytes_max`. Errors: as open and read_at; rejected if larger.
[[nodiscard]] Result<std::vector<std::byte>> read_file(FileSystem& files, const std::string& path,
                                                       std::uint64_t bytes_max);

}  // namespace ferry
