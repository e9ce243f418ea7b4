#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "ferry/platform/file.hpp"

namespace ferry::floor {

/// Group commit and nothing else: while one write and fdatasync run, the next batch gathers. Writes
/// round and round in one file that was written before, so that no sync has to allocate.
class SyncWriter {
public:
    SyncWriter(const std::string& path, std::function<void()> on_durable);
    /// Waits for what was added.
    ~SyncWriter();

    /// Copies `bytes`; durable() reaches `mark` when they are on disk.
    void add(Bytes bytes, std::uint64_t mark);
    [[nodiscard]] std::uint64_t durable() const { return durable_.load(); }
    [[nodiscard]] std::uint64_t syncs() const { return syncs_.load(); }

private:
    void run();
    void write(std::string& batch);

    std::unique_ptr<FileSystem> files_ = make_posix_file_system();
    std::string path_;
    std::unique_ptr<File> file_;
    std::uint64_t offset_ = 0;
    std::function<void()> on_durable_;
    std::mutex mutex_;
    std::condition_variable added_;
    std::string gathering_;
    std::uint64_t gathering_mark_ = 0;
    bool stopping_ = false;
    std::atomic<std::uint64_t> durable_{0};
    std::atomic<std::uint64_t> syncs_{0};
    std::thread thread_;
};

}  // namespace ferry::floor
