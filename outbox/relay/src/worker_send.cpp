#include <algorithm>

#include "ferry/platform/fault_point.hpp"
#include "worker.hpp"

// Reading, publishing, and what the broker answers.
namespace ferry::outbox::relay {
namespace {

constexpr std::uint64_t rows_per_turn_max = 4096;
// So many unsent rows are a backlog: what an application commits is sent without a pause.
constexpr std::uint64_t active_backlog_rows = 4096;
constexpr std::size_t due_per_turn_max = 256;
constexpr std::uint64_t slack_ms = 20;
constexpr std::uint64_t rate_forgotten_ms = 500;
constexpr std::uint64_t slack_rows_max = 1024;

}  // namespace

void Worker::take_answers() {
    mailbox_.take(content_);
    const std::uint64_t now = now_ms();
    for (const Mailbox::Answer& answer : content_.answers) take_answer(answer, now);
    if (core_.foreign()) {
        return begin_anew(Anew::epoch,
                          "the broker had a message already that only this database can have sent: "
                          "a copy of it is at work");
    }
    if (content_.lost) {
        content_.lost = false;
        const bool was_fenced = content_.why.wire_code == wire::Code::fenced;
        log(LogLevel::warning, "the connection was lost: " + content_.why.text);
        disconnect();
        connect_at_ = now;
        if (was_fenced) fenced(content_.why.text);
    } else if (core_.desynchronised()) {
        log(LogLevel::warning, "the broker took something else than was sent; connecting anew");
        disconnect();
        connect_at_ = now + options_.rules.backoff_min_ms;
    }
}

void Worker::take_answer(const Mailbox::Answer& answer, std::uint64_t now) {
    const Range ids{answer.sequences.first + base_, answer.sequences.last + base_};
    switch (answer.kind) {
        case transport::Outcome::Kind::confirmed:
        case transport::Outcome::Kind::duplicate: {
            const bool duplicate = answer.kind == transport::Outcome::Kind::duplicate;
            if (core_.finished().empty()) finished_since_ = now;
            FERRY_FAULT_POINT("relay.after_confirm");
            core_.confirmed(ids, duplicate);
            (duplicate ? figures_.duplicates : figures_.sent) += ids.last - ids.first + 1;
            note_times(ids);
            return;
        }
        case transport::Outcome::Kind::refused:
            if (answer.code == wire::Code::sequence_gap) {
                core_.not_taken(ids);
                maybe_new_ = true;
                return;
            }
            for (std::uint64_t id = ids.first; id <= ids.last; ++id) {
                ++figures_.refused;
                const auto key = store_.key_of(id);
                if (!key.ok()) {
                    trouble(key.error(), "a refused row could not be read");
                    disconnect();  // the next connection finds out
                    connect_at_ = now + options_.rules.backoff_min_ms;
                    return;
                }
                core_.refused(id, key.value(), answer.code, answer.text, now);
                maybe_new_ = true;
            }
            return;
        case transport::Outcome::Kind::in_doubt:
            return;  // the connection is lost, which is told as well
    }
}

void Worker::note_times(Range ids) {
    const std::uint64_t wall = wall_ms();
    while (!created_.empty() && created_.front().first <= ids.last) {
        const auto [id, created] = created_.front();
        created_.pop_front();
        if (id >= ids.first) histogram_.observe_ms(wall > created ? wall - created : 0);
    }
}

bool Worker::publish(const RowView& row) {
    transport::SequencedMessage message;
    const std::string wrong = encoder_.encode(row, core_.floor(), message);
    if (!wrong.empty()) {
        log(LogLevel::warning, "row " + std::to_string(row.id) + " cannot be sent: " + wrong);
        core_.unsendable(row.id, row.ordering_key, wrong);
        return true;
    }
    message.mandatory = options_.mandatory && row.exchange.empty();
    publisher_->settled(core_.floor() - 1 - base_);
    if (const auto gap = core_.gap_before(row.id)) {
        const Range sequences{gap->first - base_, gap->last - base_};
        if (!publisher_->hold(sequences).ok()) return false;
        core_.held(*gap);
    }
    const Status taken = publisher_->publish(row.id - base_, message);
    if (taken.ok()) {
        if (row.id > core_.read_after()) created_.emplace_back(row.id, row.created_ms);
        core_.sent(row.id);
        ++figures_.published;
        return true;
    }
    if (taken.error().code != Errc::rejected) return false;
    const std::string reason(taken.error().what);
    log(LogLevel::warning, "row " + std::to_string(row.id) + " cannot be sent: " + reason);
    core_.unsendable(row.id, row.ordering_key, reason);
    return true;
}

void Worker::send_due(std::uint64_t now) {
    const auto ids = core_.due(now, due_per_turn_max);
    if (ids.empty()) return;
    for (const std::uint64_t id : ids) {
        if (!core_.may_send(now) || id > reserved_) break;
        bool found = false;
        bool taken = true;
        const auto read = store_.read_one(id, [&](const RowView& row) {
            found = true;
            taken = publish(row);
        });
        if (!read.ok()) {
            trouble(read.error(), "a waiting row could not be read");
            break;
        }
        if (!found) core_.gone(id);
        if (!taken) break;
    }
    FERRY_FAULT_POINT("relay.before_send");
    if (publisher_) publisher_->flush();
}

// Rows that come steadily are reserved a little ahead, so that not each of them costs a transaction
// of ours before it may go; further ahead when the lock is hard to get.
std::uint64_t Worker::slack(std::uint64_t now) const {
    if (now - rate_since_ > rate_forgotten_ms) return 0;
    const std::uint64_t ahead_ms = std::max(slack_ms, 2 * reserve_wait_ms_);
    return std::min(static_cast<std::uint64_t>(rate_ * static_cast<double>(ahead_ms)),
                    slack_rows_max);
}

void Worker::note_rate(std::uint64_t rows, std::uint64_t now) {
    rate_count_ += rows;
    const std::uint64_t elapsed = now - rate_since_;
    if (elapsed < slack_ms) return;
    rate_ = elapsed > rate_forgotten_ms
                ? 0
                : static_cast<double>(rate_count_) / static_cast<double>(elapsed);
    rate_count_ = 0;
    rate_since_ = now;
}

void Worker::send_new(std::uint64_t now) {
    maybe_more_ = false;
    if (!maybe_new_ || core_.room(now) == 0) {
        maybe_more_ = maybe_new_;
        return;
    }
    const auto last = store_.max_id();
    if (!last.ok()) return trouble(last.error(), "new rows could not be looked for");
    if (last.value() <= core_.read_after()) {
        maybe_new_ = false;
        return;
    }
    looks_left_ = 0;
    const std::uint64_t before = core_.read_after();
    if (last.value() > reserved_) {
        if (reserve_since_ == 0) reserve_since_ = now;
        if (now >= write_retry_ && write(last.value() + slack(now))) {
            reserve_wait_ms_ = now_ms() - reserve_since_;
            reserve_since_ = 0;
        }
        if (!leading_ || !core_.connected()) return;
    }
    const bool through = send_rows(std::min(last.value(), reserved_), now);
    const std::uint64_t read = core_.read_after();
    note_rate(read > before ? read - before : 0, now);
    maybe_more_ = through && read < std::min(last.value(), reserved_);
    if (through && read >= last.value()) maybe_new_ = false;
}

bool Worker::send_rows(std::uint64_t upto, std::uint64_t now) {
    if (upto <= core_.read_after()) return false;
    bool through = true;
    bool rebase = false;
    std::uint64_t most = std::min(core_.room(now), rows_per_turn_max);
    // New rows go at once, whatever stands behind a backlog goes at the pace.
    const bool paced = now < active_until_ && upto - core_.read_after() > active_backlog_rows;
    if (paced) {
        most = std::min(most, pace_.room(now));
        if (most == 0) {
            paced_until_ = pace_.next(now);
            return true;
        }
        pace_.spent(most);
    }
    const auto read = store_.read(core_.read_after(), upto, most, [&](const RowView& row) {
        switch (core_.offer(row.id, row.ordering_key, now)) {
            case Core::Verdict::wait:
                return true;
            case Core::Verdict::send:
                through = publish(row);
                return through && core_.may_send(now);
            case Core::Verdict::rebase:
                rebase = true;
                [[fallthrough]];
            case Core::Verdict::stop:
                through = false;
                return false;
        }
        return false;
    });
    FERRY_FAULT_POINT("relay.before_send");
    if (publisher_) publisher_->flush();
    FERRY_FAULT_POINT("relay.after_send");
    if (!read.ok()) {
        trouble(read.error(), "new rows could not be read");
        return false;
    }
    if (rebase) {
        begin_anew(Anew::epoch, "more rows are missing from the outbox behind row " +
                                    std::to_string(core_.read_after()) +
                                    " than the broker can be told of: were they deleted?");
        return false;
    }
    return through;
}

}  // namespace ferry::outbox::relay
