#include "sync_writer.hpp"

#include <utility>

namespace ferry::floor {
namespace {

constexpr std::uint64_t file_bytes = 256ULL << 20;
constexpr std::size_t sector = 512;

template <class R>
void must(const R& result, const char* what) {
    FERRY_ASSERT(result.ok(), what);  // a yardstick has nobody to report to
}

}  // namespace

SyncWriter::SyncWriter(const std::string& path, std::function<void()> on_durable)
    : path_(path), on_durable_(std::move(on_durable)) {
    auto opened = files_->open(path_, FileSystem::Open::create);
    must(opened, "the benchmark's file can be created");
    file_ = std::move(opened).value();
    const std::string zeros(1U << 20, '\0');
    for (std::uint64_t at = 0; at < file_bytes; at += zeros.size()) {
        must(file_->write_at(at, as_bytes(zeros)), "the benchmark's file can be written ahead");
    }
    must(file_->sync_data(), "the benchmark's file can be synced");
    thread_ = std::thread([this] { run(); });
}

SyncWriter::~SyncWriter() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    added_.notify_one();
    thread_.join();
    files_->remove(path_).ignore("a file left over in a scratch directory harms nobody");
}

void SyncWriter::add(Bytes bytes, std::uint64_t mark) {
    {
        const std::lock_guard lock(mutex_);
        gathering_.append(as_text(bytes));
        gathering_mark_ = mark;
    }
    added_.notify_one();
}

void SyncWriter::run() {
    std::string batch;
    for (;;) {
        std::uint64_t mark = 0;
        {
            std::unique_lock lock(mutex_);
            added_.wait(lock, [this] { return stopping_ || !gathering_.empty(); });
            if (gathering_.empty()) return;
            batch.clear();
            std::swap(batch, gathering_);
            mark = gathering_mark_;
        }
        write(batch);
        durable_.store(mark);
        on_durable_();
    }
}

void SyncWriter::write(std::string& batch) {
    batch.resize((batch.size() + sector - 1) / sector * sector);
    if (offset_ + batch.size() > file_bytes) offset_ = 0;
    must(file_->write_at(offset_, as_bytes(batch)), "the benchmark's file can be written");
    must(file_->sync_data(), "the benchmark's file can be synced");
    offset_ += batch.size();
    syncs_.fetch_add(1);
}

}  // namespace ferry::floor
