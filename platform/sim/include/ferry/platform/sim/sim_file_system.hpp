#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "ferry/platform/file.hpp"
#include "ferry/platform/sim/disk_image.hpp"
#include "ferry/platform/sim/journal.hpp"

namespace ferry::sim {

/// The calls a program makes; what faults are aimed at.
enum class Call : std::uint8_t {
    open,
    write,
    read,
    sync_data,
    truncate,
    size,
    rename,
    remove,
    sync_directory,
    make_directory,
    list,
    space,
    lock,
};
[[nodiscard]] const char* name_of(Call call);

/// Makes one call fail, or all from one on.
struct Fault {
    enum class Kind : std::uint8_t {
        io_error,      // EIO, and nothing was done
        out_of_space,  // ENOSPC for what takes space (write, open that creates, rename,
                       // make_directory, sync); other calls go through
        short_write,   // a write leaves its first half behind and reports ENOSPC; other calls get
                       // EIO
    };
    std::uint64_t at = 1;     // fails the at-th call (1-based) counted from inject() on...
    std::uint64_t count = 1;  // ...and this many of those that follow, itself included
    Kind kind = Kind::io_error;
    std::optional<Call> only = {};   // counts only these
    std::string path_contains = {};  // counts only calls on such paths
};

/// Files in memory that follow POSIX while the machine runs, and remember in which order things
/// were done, so that CrashStates can tell what a power cut may leave.
///
/// A failed sync makes nothing durable, though reads go on returning the new bytes: Linux marks the
/// pages clean. Lock files are seen by list() but are no part of image() or journal().
///
/// Threads   any; calls wait for each other.
/// Lifetime  Files and locks may outlive the file system.
class SimFileSystem final : public FileSystem {
public:
    explicit SimFileSystem(const DiskImage& start = {}, bool record = true);
    ~SimFileSystem() override;

    Result<std::unique_ptr<File>> open(const std::string& path, Open mode) override;
    Status rename(const std::string& from, const std::string& to) override;
    Status remove(const std::string& path) override;
    Status sync_directory(const std::string& directory) override;
    Status make_directory(const std::string& directory) override;
    Result<std::vector<std::string>> list(const std::string& directory) override;
    [[nodiscard]] Result<DiskSpace> space(const std::string& directory) override;
    Result<std::unique_ptr<FileLock>> lock(const std::string& path, std::string_view note) override;

    /// Not to be used while other threads use the files.
    [[nodiscard]] const Journal& journal() const;
    /// How many operations the journal holds: the name of "now" as a crash point.
    [[nodiscard]] std::size_t operations() const;
    /// What the running system sees, as if all of it were durable: what a killed process leaves.
    [[nodiscard]] DiskImage image() const;

    /// Adds a fault. It counts calls from now on.
    void inject(const Fault& fault);
    void clear_faults();
    /// Faults that struck since the last clear_faults(), counted per call.
    [[nodiscard]] std::uint64_t faults_struck() const;
    /// Calls made so far, to sweep over.
    [[nodiscard]] std::uint64_t calls() const;
    /// All files together may hold so many bytes; a write beyond leaves what fits and says
    /// out_of_space.
    void set_capacity(std::uint64_t bytes);
    /// Reads of these bytes get EIO until they are written again.
    void break_sectors(const std::string& path, std::uint64_t offset, std::uint64_t length);
    /// Changes a stored bit behind everybody's back. Requires  the file reaches that far.
    void flip_bit(const std::string& path, std::uint64_t offset, unsigned bit);
    /// Called before each call is carried out, outside of the lock; for tests that act in between.
    void on_call(std::function<void(Call, const std::string& path)> observer);

private:
    struct Core;
    class SimFile;
    class SimLock;
    std::shared_ptr<Core> core_;
};

}  // namespace ferry::sim
