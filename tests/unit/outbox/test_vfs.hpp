#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "ferry/platform/sim/journal.hpp"
#include "ferry/sqlite/api.hpp"

namespace ferry::outbox {

/// What a connection asks of its files.
enum class FileCall : std::uint8_t { write, sync, truncate, read, lock };

/// SQLite's file layer over the real one, which writes down what is done to the files, so that
/// sim::CrashStates can tell what a power cut may leave, and makes calls fail on demand.
///
/// Threads   One at a time. Lifetime: outlives its connections.
class TestVfs {
public:
    TestVfs();
    ~TestVfs();
    TestVfs(const TestVfs&) = delete;
    TestVfs& operator=(const TestVfs&) = delete;

    /// Opens a connection through it, with busy timeout. Closed by the pointer.
    struct Close {
        void operator()(sqlite3* handle) const { sqlite3_close(handle); }
    };
    using Connection = std::unique_ptr<sqlite3, Close>;
    [[nodiscard]] Connection open(const std::string& path);
    /// Connections that name no file layer go through this one, or no longer.
    void use_for_all(bool on) { sqlite3_vfs_register(on ? own_.get() : real_, 1); }

    /// Takes the files of a directory, whose connections are all closed, as durable, and writes
    /// down everything that comes.
    void record(const std::string& directory);
    [[nodiscard]] const sim::Journal& journal() const { return journal_; }
    [[nodiscard]] std::size_t operations() const { return journal_.operations.size(); }

    /// The `at`-th call (from 1) of this kind on a file whose name ends so fails with `code`, and
    /// all behind it if `all`.
    void fail(FileCall call, std::string suffix, std::uint64_t at, int code, bool all = false);
    /// Nothing fails any more. Returns how many did.
    std::uint64_t heal();

    // For the functions that SQLite calls.
    struct File;
    int struck(FileCall call, const File& file);
    void note(sim::Operation operation);
    sim::InodeId inode_of(const std::string& name, bool create);
    void note_removal(const std::string& path, bool synced);
    sqlite3_vfs* real() const { return real_; }

private:
    struct Fault {
        FileCall call = FileCall::write;
        std::string suffix;
        std::uint64_t at = 0;
        int code = 0;
        bool all = false;
    };

    sqlite3_vfs* real_;
    std::unique_ptr<sqlite3_vfs> own_;
    std::string name_;
    bool recording_ = false;
    sim::Journal journal_;
    std::map<std::string, sim::InodeId> inodes_;
    sim::InodeId next_inode_ = 1;
    Fault fault_;
    std::uint64_t counted_ = 0;
    std::uint64_t struck_ = 0;
};

}  // namespace ferry::outbox
