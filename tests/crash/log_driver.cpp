#include "log_driver.hpp"

#include <algorithm>
#include <set>

#include "ferry/platform/crc32c.hpp"

namespace ferry::crash {
namespace {

constexpr int turns_max = 200;  // a writer that is never done is a bug, not a reason to wait

std::uint64_t hash_of(Bytes body) {
    return (static_cast<std::uint64_t>(body.size()) << 32) | crc32c(body);
}

std::vector<std::byte> body_of(std::uint64_t id, std::size_t size) {
    std::vector<std::byte> body(std::max<std::size_t>(size, sizeof id));
    SeededRandom noise(id);
    for (std::size_t at = 0; at < body.size(); ++at)
        body[at] = static_cast<std::byte>(noise.next());
    store_le(body.data(), id);
    return body;
}

std::string text_of(const Error& error) {
    return "code " + std::to_string(static_cast<int>(error.code)) + " errno " +
           std::to_string(error.os_errno) + " at " + std::to_string(error.position) + ": " +
           std::string(error.what);
}

std::string text_of(const Known& record) {
    return "record at " + std::to_string(record.position) + " of " +
           std::to_string(record.hash >> 32) + " bytes";
}

bool same(const Known& a, const Known& b) {
    return a.position == b.position && a.hash == b.hash;
}

}  // namespace

const char* name_of(Step step) {
    static constexpr const char* names[] = {"small",   "large",      "batch",    "ack",
                                            "roll",    "checkpoint", "drop",     "reopen",
                                            "compact", "close",      "roll_bare"};
    return names[static_cast<std::size_t>(step)];
}

log::Options small_options() {
    log::Options options;
    options.segment_bytes = 16 << 10;
    options.batch_bytes_max = 8 << 10;
    options.spare_segments = 1;
    options.cache_bytes = 16 << 10;
    options.seal_after_ms = 200;
    return options;
}

sim::DiskImage empty_disk() {
    sim::DiskImage disk;
    disk.directories.insert(log_directory);
    return disk;
}

History History::after_crash(std::size_t point) const {
    const auto fixed = [&](std::size_t from) { return from <= point ? std::size_t{0} : never; };
    History left;
    left.next_id = next_id;
    for (Known record : records) {
        if (record.appended_from > point || record.lost_from <= point) continue;
        record.appended_from = 0;
        record.durable_from = fixed(record.durable_from);
        record.released_from = fixed(record.released_from);
        record.lost_from = never;
        left.records.push_back(record);
    }
    for (KnownCheckpoint checkpoint : checkpoints) {
        if (checkpoint.requested_from > point) continue;
        checkpoint.requested_from = 0;
        checkpoint.done_from = fixed(checkpoint.done_from);
        left.checkpoints.push_back(std::move(checkpoint));
    }
    return left;
}

std::uint64_t History::hash() const {
    std::vector<std::uint64_t> words{next_id};
    for (const Known& record : records) {
        words.insert(words.end(), {record.position, record.hash, record.durable_from,
                                   record.released_from, record.lost_from});
    }
    for (const KnownCheckpoint& checkpoint : checkpoints) {
        words.insert(words.end(), {checkpoint.at, checkpoint.done_from});
    }
    const auto* bytes = reinterpret_cast<const std::byte*>(words.data());
    const Bytes all(bytes, words.size() * sizeof(std::uint64_t));
    return (static_cast<std::uint64_t>(crc32c(all)) << 32) | crc32c(all, 0x5EED);
}

LogDriver::LogDriver(sim::SimFileSystem& files, History history, std::uint64_t seed)
    : files_(files), random_(seed), history_(std::move(history)) {}

LogDriver::~LogDriver() = default;

std::string LogDriver::open() {
    log_.reset();
    std::string text;
    auto opened =
        log::CommitLog::open(files_, random_, clock_, log_directory, small_options(), &text);
    if (!opened.ok()) {
        open_error_ = opened.error();
        return "open failed: " + text + " (" + text_of(open_error_) + ")";
    }
    log_ = std::move(opened).value();
    std::vector<Known> found;
    const Status replayed = log_->replay([&](const log::Place& place, Bytes body) {
        Known record;
        record.position = place.position;
        record.segment = place.segment;
        record.hash = hash_of(body);
        record.end = place.position + 8 + body.size();
        found.push_back(record);
        return ok_status();
    });
    if (!replayed.ok()) {
        open_error_ = replayed.error();
        log_.reset();
        return "replay failed: " + text_of(open_error_);
    }
    if (std::string wrong = check_checkpoint(); !wrong.empty()) return wrong;
    if (std::string wrong = check_found(found); !wrong.empty()) return wrong;
    settle(found);
    return {};
}

std::string LogDriver::check_checkpoint() {
    const log::Recovered& recovered = log_->recovered();
    log::Position newest_done = 0;
    bool known = recovered.checkpoint_at == 0 && recovered.checkpoint.empty();
    for (const KnownCheckpoint& checkpoint : history_.checkpoints) {
        if (checkpoint.done_from != never) newest_done = std::max(newest_done, checkpoint.at);
        known = known || (checkpoint.at == recovered.checkpoint_at &&
                          checkpoint.state == recovered.checkpoint);
    }
    const std::string where = "checkpoint at " + std::to_string(recovered.checkpoint_at);
    if (!known) return where + " was never asked for, or has another state";
    if (damaged_) return {};
    if (recovered.checkpoints_bad > 0) return where + ": a newer one is damaged";
    if (recovered.checkpoint_at < newest_done) {
        return where + " although a newer one was finished: " + std::to_string(newest_done);
    }
    return {};
}

std::string LogDriver::check_found(const std::vector<Known>& found) {
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (i > 0 && found[i].position < found[i - 1].end) return "replay is out of order";
        const auto known = std::find_if(
            history_.records.begin(), history_.records.end(), [&](const Known& record) {
                return same(record, found[i]) && record.lost_from == never;
            });
        if (known == history_.records.end()) return "PHANTOM " + text_of(found[i]);
    }
    for (const Known& record : history_.records) {
        if (record.durable_from == never || record.released_from != never) continue;
        if (record.position < log_->recovered().checkpoint_at) continue;  // see read_all
        const bool there = std::any_of(found.begin(), found.end(),
                                       [&](const Known& other) { return same(other, record); });
        if (!there) return "LOST " + text_of(record);
    }
    return {};
}

void LogDriver::settle(const std::vector<Known>& found) {
    const std::size_t now = files_.operations();
    for (Known& record : history_.records) {
        if (record.durable_from != never || record.lost_from != never) continue;
        const auto there = std::find_if(found.begin(), found.end(),
                                        [&](const Known& other) { return same(other, record); });
        (there == found.end() ? record.lost_from : record.durable_from) = now;
        if (there != found.end()) record.segment = there->segment;
    }
    // The tail was copied: what was durable before may be in another segment now.
    for (const Known& other : found) {
        for (Known& record : history_.records) {
            if (same(record, other)) record.segment = other.segment;
        }
    }
    if (tolerant_) return;  // its name may be in the page cache only, after a failed sync
    for (KnownCheckpoint& checkpoint : history_.checkpoints) {
        if (checkpoint.at == log_->recovered().checkpoint_at) {
            checkpoint.done_from = std::min(checkpoint.done_from, now);
        }
    }
}

std::string LogDriver::read_all(std::uint64_t* detected) {
    for (const Known& record : history_.records) {
        if (record.durable_from == never || record.released_from != never) continue;
        const auto block = log_->read_block(record.position, 1);
        if (!block.ok()) {
            const Errc code = block.error().code;
            const bool noticed = code == Errc::corrupt || code == Errc::io_failed;
            if (detected == nullptr || !noticed) {
                return "cannot read " + text_of(record) + ": " + text_of(block.error());
            }
            ++*detected;
            continue;
        }
        const auto& records = block.value().records;
        if (records.empty() || records.front().position != record.position ||
            hash_of(records.front().body) != record.hash) {
            return "WRONG BYTES in " + text_of(record);
        }
    }
    return {};
}

void LogDriver::append(std::size_t size) {
    const std::vector<std::byte> body = body_of(history_.next_id++, size);
    // In two parts, since the log takes a record as parts.
    const Bytes parts[] = {Bytes(body).first(8), Bytes(body).subspan(8)};
    Known record;
    record.appended_from = files_.operations();
    const log::Place place = log_->append(parts);
    record.position = place.position;
    record.segment = place.segment;
    record.hash = hash_of(body);
    record.end = place.position + 8 + body.size();
    history_.records.push_back(record);
}

void LogDriver::note_progress() {
    const log::Position durable = log_->durable();
    const std::size_t now = files_.operations();
    for (Known& record : history_.records) {
        const bool fresh = record.durable_from == never && record.lost_from == never;
        if (fresh && record.end <= durable) record.durable_from = now;
    }
}

std::string LogDriver::drain() {
    log_->submit();
    for (int turn = 0; turn < turns_max; ++turn) {
        if (log_->pending_bytes() == 0) return {};
        if (log_->failed()) break;
        const bool wrote = log_->write_once();
        note_progress();
        if (!wrote && !log_->housekeep_once()) break;
        note_progress();
    }
    if (log_->pending_bytes() == 0 || tolerant_) return {};
    if (log_->failed()) return "the log failed: " + text_of(log_->failure());
    return "the writer does not get done";
}

void LogDriver::housekeep() {
    for (int turn = 0; turn < turns_max && log_->housekeep_once(); ++turn) note_progress();
}

void LogDriver::idle() {
    clock_.advance_ms(small_options().seal_after_ms + 1);
    for (int turn = 0; turn < turns_max && log_->write_once(); ++turn) note_progress();
}

std::string LogDriver::roll() {
    const log::Position before = log_->segments().back().base;
    for (int i = 0; i < 16; ++i) {
        append(3000);
        if (std::string wrong = drain(); !wrong.empty() || log_->failed()) return wrong;
        if (history_.records.back().segment != before) return {};
    }
    return tolerant_ ? std::string() : "the log does not roll";
}

std::vector<std::byte> LogDriver::state_at(log::Position at) const {
    std::vector<std::byte> state(16);
    store_le<std::uint64_t>(state.data(), at);
    std::uint64_t count = 0;
    for (const Known& record : history_.records) {
        if (record.lost_from != never || record.end > at) continue;
        ++count;
        const std::size_t size = state.size();
        state.resize(size + 16);
        store_le<std::uint64_t>(state.data() + size, record.position);
        store_le<std::uint64_t>(state.data() + size + 8, record.hash);
    }
    store_le<std::uint64_t>(state.data() + 8, count);
    return state;
}

std::string LogDriver::checkpoint(bool clean) {
    KnownCheckpoint known;
    known.at = log_->end();
    known.state = state_at(known.at);
    known.requested_from = files_.operations();
    history_.checkpoints.push_back(known);
    log_->checkpoint(known.state, known.at, clean);
    std::string wrong = drain();
    housekeep();
    // The log may give one up when a call fails; it does not say so, and need not.
    const bool sure = files_.faults_struck() == 0;
    if (!log_->checkpoint_pending() && !log_->failed()) {
        if (sure) history_.checkpoints.back().done_from = files_.operations();
    } else if (wrong.empty() && !tolerant_) {
        wrong = "the checkpoint does not get done";
    }
    return wrong;
}

void LogDriver::drop() {
    const std::vector<log::SegmentInfo> segments = log_->segments();
    const auto may_go = [&](const log::SegmentInfo& info) {
        return info.end <= log_->replay_floor();
    };
    if (segments.size() < 2 || !may_go(segments.front())) return;
    for (Known& record : history_.records) {
        const bool inside =
            record.position >= segments.front().base && record.position < segments.front().end;
        if (inside) record.released_from = std::min(record.released_from, files_.operations());
    }
    log_->drop_segment(segments.front().base);
    housekeep();
}

void LogDriver::compact() {
    for (const log::SegmentInfo& info : log_->segments()) {
        if (info.end > log_->replay_floor() || info.compacted) continue;
        std::vector<log::Keep> keep;
        bool kept = false;  // every other record goes
        for (Known& record : history_.records) {
            const bool inside = record.position >= info.base && record.position < info.end;
            const bool live = record.durable_from != never && record.released_from == never;
            if (!inside || !live) continue;
            kept = !kept;
            if (kept) {
                keep.push_back({record.position, {}});
            } else {
                record.released_from = files_.operations();
            }
        }
        std::sort(keep.begin(), keep.end(),
                  [](const log::Keep& a, const log::Keep& b) { return a.position < b.position; });
        if (keep.empty()) continue;
        log_->compact(info.base, std::move(keep), [](Bytes body, const auto&) {
            return Result<std::vector<std::byte>>(std::vector<std::byte>(body.begin(), body.end()));
        });
        housekeep();
        return;
    }
}

std::string LogDriver::publish_one() {
    log::Position durable_end = 0;
    for (const Known& record : history_.records) {
        if (record.durable_from != never) durable_end = std::max(durable_end, record.end);
    }
    append(48);
    if (history_.records.back().position < durable_end) return "a durable position is used again";
    return drain();
}

std::string LogDriver::run(Step step) {
    std::string wrong;
    switch (step) {
        case Step::publish_small:
            return publish_one();
        case Step::publish_large:
            append(1300);
            return drain();
        case Step::publish_batch:
            for (int i = 0; i < 3; ++i) append(100);
            return drain();
        case Step::ack:
            append(24);
            wrong = drain();
            if (!log_->failed()) idle();
            return wrong;
        case Step::roll:
            wrong = roll();
            housekeep();
            return wrong;
        case Step::roll_bare:
            return roll();
        case Step::checkpoint:
            return checkpoint(false);
        case Step::drop:
            drop();
            return {};
        case Step::compact:
            compact();
            return {};
        case Step::reopen:
            kill();
            return open();
        case Step::close:
            wrong = checkpoint(true);
            log_->close();
            note_progress();
            if (!wrong.empty()) return wrong;
            kill();
            return open();
    }
    return "unknown step";
}

Aged aged_log() {
    sim::SimFileSystem files(empty_disk());
    LogDriver driver(files, {}, 11);
    std::string wrong = driver.open();
    for (const Step step : {Step::publish_batch, Step::roll, Step::publish_small, Step::checkpoint,
                            Step::reopen, Step::publish_large, Step::checkpoint, Step::ack}) {
        if (wrong.empty()) wrong = driver.run(step);
    }
    driver.kill();
    FERRY_ASSERT(wrong.empty(), "the log works when nothing goes wrong");
    return Aged{files.image(), driver.history().after_crash(files.operations())};
}

}  // namespace ferry::crash
