#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ferry/log/commit_log.hpp"
#include "ferry/log/format.hpp"

// A data directory of its own per test, small segments, and records as text.
namespace ferry::log {

inline Options small_options() {
    Options options;
    options.segment_bytes = 32 * 1024;
    options.batch_bytes_max = 16 * 1024;
    options.spare_segments = 1;
    options.cache_bytes = 32 * 1024;
    return options;
}

struct Replayed {
    Place place{};
    std::string body;
};

class LogTest : public ::testing::Test {
protected:
    void SetUp() override {
        std::string pattern = ::testing::TempDir() + "ferry-log-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        root_ = pattern;
        directory_ = root_ + "/data";
    }
    void TearDown() override { std::filesystem::remove_all(root_); }

    Result<std::unique_ptr<CommitLog>> try_open() { return try_open_at(directory_); }
    Result<std::unique_ptr<CommitLog>> try_open_at(const std::string& directory) {
        error_text_.clear();
        return CommitLog::open(files(), system_random(), system_clock(), directory, options_,
                               &error_text_);
    }
    std::unique_ptr<CommitLog> open() {
        auto log = try_open();
        EXPECT_TRUE(log.ok()) << error_text_;
        return log.ok() ? std::move(log).value() : nullptr;
    }

    static Place put(CommitLog& log, std::string_view text) {
        const Bytes part = as_bytes(text);
        return log.append({&part, 1});
    }
    /// Submits and does the writer's and the housekeeper's work until there is none.
    static void settle(CommitLog& log) {
        log.submit();
        for (bool more = true; more;) {
            more = log.write_once();
            more = log.housekeep_once() || more;
        }
    }
    /// As settle, but without the housekeeper.
    static void flush(CommitLog& log) {
        log.submit();
        while (log.write_once()) {
        }
    }
    /// Every record, as the engine sees it at start.
    static std::vector<Replayed> replay(CommitLog& log) {
        std::vector<Replayed> out;
        const Status status = log.replay([&](const Place& place, Bytes body) {
            out.push_back(Replayed{place, std::string(as_text(body))});
            return ok_status();
        });
        EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().what);
        return out;
    }
    static std::vector<std::string> bodies(CommitLog& log) {
        std::vector<std::string> out;
        for (Replayed& one : replay(log)) out.push_back(std::move(one.body));
        return out;
    }
    static void checkpoint(CommitLog& log, std::string_view state, bool clean = false) {
        const Bytes bytes = as_bytes(state);
        log.checkpoint({bytes.begin(), bytes.end()}, log.end(), clean);
        settle(log);
        EXPECT_FALSE(log.checkpoint_pending());
    }

    /// Names with this suffix, sorted.
    std::vector<std::string> names(std::string_view suffix) const {
        std::vector<std::string> out;
        for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
            const std::string name = entry.path().filename().string();
            const bool spare = name.rfind("spare-", 0) == 0;
            if (!spare && name.size() >= suffix.size() &&
                name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0)
                out.push_back(name);
        }
        std::sort(out.begin(), out.end());
        return out;
    }
    std::string path(const std::string& name) const { return directory_ + "/" + name; }
    static std::string contents(const std::string& path);
    static void set_contents(const std::string& path, const std::string& bytes);
    static void flip(const std::string& path, std::uint64_t offset);
    /// Every file's name and contents.
    std::map<std::string, std::string> snapshot() const {
        std::map<std::string, std::string> out;
        for (const auto& entry : std::filesystem::directory_iterator(directory_))
            out[entry.path().filename().string()] = contents(entry.path().string());
        return out;
    }

    virtual FileSystem& files() { return *files_; }

    std::unique_ptr<FileSystem> files_ = make_posix_file_system();
    Options options_ = small_options();
    std::string root_;
    std::string directory_;
    std::string error_text_;
};

inline std::string LogTest::contents(const std::string& path) {
    std::string out(std::filesystem::file_size(path), '\0');
    std::FILE* file = std::fopen(path.c_str(), "rb");
    EXPECT_NE(file, nullptr) << path;
    if (file == nullptr) return {};
    EXPECT_EQ(std::fread(out.data(), 1, out.size(), file), out.size());
    std::fclose(file);
    return out;
}

inline void LogTest::set_contents(const std::string& path, const std::string& bytes) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    ASSERT_NE(file, nullptr) << path;
    EXPECT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
    std::fclose(file);
}

inline void LogTest::flip(const std::string& path, std::uint64_t offset) {
    std::string bytes = contents(path);
    ASSERT_LT(offset, bytes.size());
    bytes[offset] = static_cast<char>(bytes[offset] ^ 0x10);
    set_contents(path, bytes);
}

}  // namespace ferry::log
