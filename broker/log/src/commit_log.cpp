#include "ferry/log/commit_log.hpp"

#include <unistd.h>

#include <algorithm>

#include "batch_buffer.hpp"
#include "ferry/platform/planted.hpp"
#include "housekeeper.hpp"
#include "reader.hpp"
#include "recovery.hpp"
#include "writer.hpp"

namespace ferry::log {

namespace {

class CommitLogImpl final : public CommitLog {
public:
    CommitLogImpl(std::unique_ptr<Core> core, std::unique_ptr<SparePool> spares,
                  std::unique_ptr<FileLock> lock, RecoveredLog recovered)
        : lock_(std::move(lock)),
          core_(std::move(core)),
          spares_(std::move(spares)),
          recovered_(std::move(recovered.report)),
          end_at_open_(recovered.end),
          scan_from_(recovered.scan_from),
          buffer_(*core_, prepare(recovered)),
          writer_(*core_, hand_over_, *spares_, recovered.active, recovered.previous_crc,
                  recovered_.rewritten_bytes > 0),
          housekeeper_(*core_, *spares_, recovered),
          reader_(*core_) {
        writer_.set_on_turn([this] { housekeeper_.poke(); });
        housekeeper_.set_on_space([this] { writer_.space_changed(); });
    }

    ~CommitLogImpl() override {
        writer_.stop();
        housekeeper_.stop(true);
    }

    const Recovered& recovered() const override { return recovered_; }
    Status replay(const std::function<Status(const Place&, Bytes)>& on_record) override;

    Place append(std::span<const Bytes> parts) override { return buffer_.append(parts); }
    void submit() override {
        if (buffer_.submit() && started_) writer_.wake();
    }
    Position durable() const override { return core_->durable.load(std::memory_order_acquire); }
    Position end() const override { return buffer_.end(); }
    std::uint64_t pending_bytes() const override {
        // durable first: it never passes an end that is read after it.
        const Position durable_now = durable();
        const Position end_now = end();
        return end_now > durable_now ? end_now - durable_now : 0;
    }
    bool failed() const override { return core_->failed.load(std::memory_order_acquire); }
    Error failure() const override { return core_->failure(); }
    Space space() const override {
        return core_->space_full.load(std::memory_order_acquire) ? Space::full : Space::ok;
    }
    Stats stats() const override;
    SyncStats sync_stats() const override {
        return {core_->syncs.load(std::memory_order_relaxed),
                core_->sync_ns_last.load(std::memory_order_relaxed)};
    }
    std::vector<DamagedRange> damage() const override { return housekeeper_.scrubber().damage(); }
    Bytes hot(Position record) const override { return buffer_.hot(record); }
    Result<Block> read_block(Position record, std::size_t bytes_wanted) const override {
        return reader_.read(record, bytes_wanted);
    }
    Result<Block> read_cached(Position record, std::size_t bytes_wanted) const override {
        return reader_.read_cached(record, bytes_wanted);
    }

    void start(std::function<void()> on_progress) override {
        FERRY_ASSERT(!started_, "start() is called once");
        core_->on_progress = std::move(on_progress);
        started_ = true;
        housekeeper_.start();
        writer_.start();
    }
    void close() override {
        buffer_.submit();
        writer_.drain_and_stop();
        housekeeper_.stop(false);
    }
    bool write_once() override { return writer_.turn(); }
    bool housekeep_once() override { return housekeeper_.turn(); }

    void checkpoint(std::vector<std::byte> state, Position at, bool clean) override;
    bool checkpoint_pending() const override { return housekeeper_.checkpoint_pending(); }
    Position replay_floor() const override { return core_->floor.load(std::memory_order_acquire); }
    std::vector<SegmentInfo> segments() const override;
    void drop_segment(Position base) override;
    void compact(Position base, std::vector<Keep> keep, Slice slice) override {
        housekeeper_.request(Housekeeper::CompactJob{base, std::move(keep), std::move(slice)});
    }
    bool compaction_pending() const override { return housekeeper_.compaction_pending(); }
    void backup(std::string target, std::function<void(Result<BackupResult>)> done) override {
        housekeeper_.request(Housekeeper::BackupJob{std::move(target), std::move(done)});
    }

private:
    HandOver& prepare(const RecoveredLog& recovered) {
        hand_over_.segment = recovered.active->header.base;
        hand_over_.capacity = recovered.active->header.capacity;
        hand_over_.next.store(recovered.end);
        core_->durable.store(recovered.end);
        core_->synced.store(recovered.end);
        return hand_over_;
    }

    std::unique_ptr<FileLock> lock_;
    std::unique_ptr<Core> core_;
    std::unique_ptr<SparePool> spares_;
    Recovered recovered_;
    const Position end_at_open_;
    const Position scan_from_;
    HandOver hand_over_;
    BatchBuffer buffer_;
    Writer writer_;
    Housekeeper housekeeper_;
    Reader reader_;
    bool started_ = false;
};

Status CommitLogImpl::replay(const std::function<Status(const Place&, Bytes)>& on_record) {
    const Position from = recovered_.checkpoint_at;
    for (const SegmentTable::Entry& entry : core_->table.snapshot()) {
        const Position end = entry.end == 0 ? end_at_open_ : entry.end;
        if (end <= scan_from_ || entry.segment->header.compacted) continue;
        BatchScanner scanner(*entry.segment, std::max(entry.base, scan_from_), end);
        while (scanner.position() < end) {
            auto batch = scanner.next();
            if (!batch.ok()) return batch.error();
            if (!batch.value())
                return Error{Errc::corrupt, 0, scanner.position(),
                             "the log changed while it was read"};
            Status status = ok_status();
            const auto each = [&](Position position, Bytes body) {
                if (position >= from && status.ok())
                    status = on_record(Place{position, entry.base}, body);
            };
            if (!walk_records(batch.value()->header, batch.value()->records, each))
                return Error{Errc::corrupt, 0, batch.value()->header.position,
                             "the records of a batch do not fill it"};
            if (!status.ok()) return status;
        }
    }
    return ok_status();
}

Stats CommitLogImpl::stats() const {
    Stats out;
    out.syncs = core_->syncs.load(std::memory_order_relaxed);
    out.batches = core_->batches.load(std::memory_order_relaxed);
    out.records = core_->records.load(std::memory_order_relaxed);
    out.bytes_written = core_->bytes_written.load(std::memory_order_relaxed);
    out.compactions = core_->compactions.load(std::memory_order_relaxed);
    out.sync_ns_last = core_->sync_ns_last.load(std::memory_order_relaxed);
    const Scrubber& scrubber = housekeeper_.scrubber();
    out.scrubbed_bytes = scrubber.bytes();
    out.scrub_passes = scrubber.passes();
    out.damaged_ranges = scrubber.damaged();
    out.spares = spares_->ready();
    out.file_bytes = out.spares * spares_->file_bytes() +
                     core_->checkpoint_bytes.load(std::memory_order_relaxed);
    for (const SegmentTable::Entry& entry : core_->table.snapshot()) {
        ++out.segments;
        if (entry.segment) out.file_bytes += entry.segment->file_bytes;
    }
    return out;
}

void CommitLogImpl::checkpoint(std::vector<std::byte> state, Position at, bool clean) {
    FERRY_ASSERT(at <= buffer_.end(), "a checkpoint covers only what was appended");
    CheckpointHeader header;
    header.log_id = core_->log_id;
    header.epoch = core_->epoch;
    header.at = at;
    header.clean = clean;
    header.wall_ms = core_->clock.now().wall_ms;
    // Reading starts at a batch: the open one if `at` is in it, else the beginning of the segment.
    header.scan_from = buffer_.boundary();
    if (header.scan_from > at) {
        const auto entry = core_->table.find(at);
        header.scan_from = entry ? entry->base : 0;
    }
    housekeeper_.request(Housekeeper::CheckpointJob{std::move(header), std::move(state)});
}

std::vector<SegmentInfo> CommitLogImpl::segments() const {
    std::vector<SegmentInfo> out;
    for (const SegmentTable::Entry& entry : core_->table.snapshot())
        out.push_back(SegmentInfo{entry.base, entry.end == 0 ? end() : entry.end,
                                  entry.segment ? entry.segment->file_bytes : 0,
                                  entry.segment && entry.segment->header.compacted});
    return out;
}

void CommitLogImpl::drop_segment(Position base) {
    const auto entry = core_->table.find(base);
    if (!entry || entry->base != base || entry->end == 0) return;
    if (entry->end > replay_floor() && !FERRY_PLANTED("log-segment-dropped-too-early")) return;
    if (auto taken = core_->table.take(base)) housekeeper_.drop(std::move(*taken));
}

Status check_options(const Options& options) {
    constexpr std::uint64_t segment_bytes_max = 1ULL << 40;
    constexpr const char* why = "bad log options";
    const bool sizes =
        options.segment_bytes % 4096 == 0 && options.segment_bytes <= segment_bytes_max &&
        options.batch_bytes_max >= 8192 && options.batch_bytes_max <= format::record_bytes_limit &&
        options.batch_bytes_max <= options.segment_bytes;
    if (!sizes || options.interval_ms == 0 || options.spare_segments > 1024)
        return Error{Errc::rejected, 0, 0, why};
    return ok_status();
}

std::string parent_of(std::string directory) {
    while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
    const std::size_t slash = directory.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : directory.substr(0, slash);
}

// Who holds the directory, for the operator who finds it locked.
std::string lock_note(FileSystem& files) {
    std::string note = "pid " + std::to_string(::getpid()) + "\n";
    auto file = files.open("/proc/sys/kernel/random/boot_id", FileSystem::Open::read);
    if (!file.ok()) return note;
    char id[64] = {};
    auto got = file.value()->read_at(0, MutableBytes(reinterpret_cast<std::byte*>(id), sizeof id));
    if (got.ok()) note += "boot " + std::string(id, got.value());
    return note;
}

}  // namespace

Result<std::unique_ptr<CommitLog>> CommitLog::open(FileSystem& files, Random& random,
                                                   const Clock& clock, std::string directory,
                                                   const Options& options,
                                                   std::string* error_text) {
    if (error_text != nullptr) error_text->clear();
    const auto refuse = [&](const Error& error, std::string_view what) {
        if (error_text != nullptr)
            *error_text = directory + ": " + std::string(what) + ": " + std::string(error.what);
        return error;
    };
    if (auto status = check_options(options); !status.ok())
        return refuse(status.error(),
                      "segment_bytes must be a multiple of 4096 and at least batch_bytes_max, "
                      "batch_bytes_max at least 8192");
    if (auto status = files.make_directory(directory); !status.ok())
        return refuse(status.error(), "cannot make the data directory");
    auto lock = files.lock(join_path(directory, "LOCK"), lock_note(files));
    if (!lock.ok())
        return refuse(lock.error(), lock.error().code == Errc::conflict
                                        ? "another broker uses this data directory"
                                        : "cannot lock the data directory");
    auto core = std::make_unique<Core>(files, clock, directory, options);
    auto spares = std::make_unique<SparePool>(*core);
    Recovery recovery(*core, random, *spares, error_text);
    auto recovered = recovery.run();
    if (!recovered.ok()) return recovered.error();
    if (recovered.value().report.created) {
        // Without this a power cut could take the whole directory, confirmed messages and all.
        auto status = files.sync_directory(parent_of(directory));
        if (!status.ok() && status.error().code == Errc::io_failed)
            return refuse(status.error(), "cannot sync the directory above");
    }
    return std::unique_ptr<CommitLog>(std::make_unique<CommitLogImpl>(
        std::move(core), std::move(spares), std::move(lock).value(), std::move(recovered).value()));
}

}  // namespace ferry::log
