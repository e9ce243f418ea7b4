// The relay's core against a model of database and broker: rows are committed, refused, purged,
// skipped and retried, connections break in the middle of everything, and relays are killed.
// Checked: no loss, no ghost, once, order by key, and that the floor tells the truth.

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <set>
#include <variant>

#include "core.hpp"

namespace ferry::outbox::relay {
namespace {

using transport::Outcome;
using wire::Code;

struct Row {
    std::string key;
    int refusals_left = 0;  // how often the broker will refuse it
    Code code = Code::no_such_exchange;
};

/// What the protocol page says of `hold` and of `publish` in order.
class ModelBroker {
public:
    struct Answer {
        Range ids;
        bool confirmed = false;
        bool duplicate = false;
        Code code = Code::ok;
    };

    void hold(Range ids) {
        if (ids.first != mark + 1) return;  // SEQUENCE_GAP, which the publisher swallows
        for (std::uint64_t id = ids.first; id <= ids.last; ++id) open.insert(id);
        mark = ids.last;
    }
    void publish(const std::vector<std::uint64_t>& ids, std::map<std::uint64_t, Row>& rows,
                 std::uint64_t settled, std::vector<Answer>& answers) {
        if (ids.front() > mark + 1) {
            answers.push_back({{ids.front(), ids.back()}, false, false, Code::sequence_gap});
            return;
        }
        open.erase(open.begin(), open.upper_bound(settled));
        bool stopped = false;
        for (const std::uint64_t id : ids) {
            const bool is_open = open.contains(id);
            if (id <= mark && !is_open) {
                answers.push_back({{id, id}, true, true, Code::ok});
            } else if (stopped) {
                answers.push_back({{id, id}, false, false, Code::sequence_gap});
            } else if (disk_full) {
                answers.push_back({{id, id}, false, false, Code::disk_full});
                stopped = true;
            } else if (Row& row = rows[id]; row.refusals_left > 0) {
                --row.refusals_left;
                answers.push_back({{id, id}, false, false, row.code});
                stopped = true;
            } else {
                open.erase(id);
                mark = std::max(mark, id);
                stored.push_back(id);
                answers.push_back({{id, id}, true, false, Code::ok});
            }
        }
    }

    std::uint64_t mark = 0;
    std::set<std::uint64_t> open;
    std::vector<std::uint64_t> stored;
    bool disk_full = false;
};

class World {
public:
    explicit World(std::uint64_t seed, Policy policy) : random_(seed), core_random_(seed + 1) {
        rules_.policy = policy;
        rules_.attempts_max = 3;
        rules_.window_min = 2;
        rules_.window_max = 40;
        rules_.waiting_rows_max = 30;
        rules_.open_rows_max = 60;
        restart();
    }

    void step() {
        now_ += random_.below(40);
        switch (random_.below(16)) {
            case 0:
            case 1:
                commit_rows();
                break;
            case 2:
            case 3:
            case 4:
            case 5:
                relay_sends();
                break;
            case 6:
            case 7:
            case 8:
                broker_works(random_.below(6));
                break;
            case 9:
            case 10:
            case 11:
                relay_hears(random_.below(10));
                break;
            case 12:
                relay_marks();
                break;
            case 13:
                if (random_.below(8) == 0) restart();
                break;
            case 14:
                if (random_.below(6) == 0) broker_.disk_full = !broker_.disk_full;
                break;
            default:
                if (random_.below(6) == 0) operator_acts();
        }
        if (core_->desynchronised()) restart();
    }

    /// The world becomes friendly; everything must get there.
    void heal() {
        broker_.disk_full = false;
        for (auto& [id, row] : rows_) row.refusals_left = 0;
        for (int i = 0; i < 4000 && !all_done(); ++i) {
            now_ += 50;
            for (auto& [id, due] : parked_) due = 0;
            relay_marks();
            sync();
            relay_sends();
            broker_works(1000);
            relay_hears(1000);
            if (core_->desynchronised()) restart();
        }
        relay_marks();
    }

    [[nodiscard]] bool all_done() const { return table_.empty(); }

    void check() {
        EXPECT_FALSE(core_->foreign());
        std::map<std::uint64_t, int> times;
        std::map<std::string, std::uint64_t> last_of_key;
        for (const std::uint64_t id : broker_.stored) {
            ++times[id];
            ASSERT_TRUE(rows_.contains(id)) << "a ghost: " << id;
            const std::string& key = rows_[id].key;
            if (key.empty() || rules_.policy == Policy::skip) continue;
            ASSERT_LT(last_of_key[key], id) << "order of key " << key;
            last_of_key[key] = id;
        }
        for (const auto& [id, row] : rows_) {
            if (given_up_.contains(id)) {
                ASSERT_LE(times[id], 1) << id;
            } else {
                ASSERT_EQ(times[id], 1) << "row " << id << " of key '" << row.key << "'";
            }
        }
        EXPECT_TRUE(core_->finished().empty());
        EXPECT_EQ(core_->floor(), core_->read_after() + 1);
    }

private:
    struct Frame {
        std::vector<std::uint64_t> ids;  // empty: a hold
        Range hold;
        std::uint64_t settled = 0;
    };

    void commit_rows() {
        if (table_.size() > 150) return;
        const std::uint64_t count = 1 + random_.below(20);
        for (std::uint64_t i = 0; i < count; ++i) {
            Row row;
            if (random_.below(3) != 0)
                row.key = std::string(1, static_cast<char>('a' + random_.below(4)));
            if (random_.below(12) == 0) {
                row.refusals_left = static_cast<int>(1 + random_.below(6));
                if (random_.below(4) == 0) row.code = Code::message_too_large;
            }
            ++last_id_;
            if (random_.below(30) == 0) continue;  // a hole
            rows_[last_id_] = row;
            table_.insert(last_id_);
        }
    }

    void operator_acts() {
        if (table_.empty()) return;
        auto at = table_.begin();
        std::advance(at, static_cast<std::ptrdiff_t>(random_.below(table_.size())));
        if (random_.below(2) == 0 || !parked_.contains(*at)) {
            if (random_.below(4) == 0) {
                given_up_.insert(*at);
                parked_.erase(*at);
                table_.erase(at);
            }
        } else {
            parked_[*at] = now_;
        }
        sync();
    }

    void sync() {
        if (!core_->refusals().empty()) return;
        std::map<std::uint64_t, std::optional<std::uint64_t>> due;
        for (const auto& [id, at] : parked_) {
            due[id] = at.has_value() ? std::optional<std::uint64_t>(*at > now_ ? *at - now_ : 0)
                                     : std::nullopt;
        }
        core_->sync_parked(due, now_);
    }

    /// The relay was killed, or its connection was: what is on its way arrives or does not.
    void restart() {
        broker_works(random_.below(wire_.size() + 1));
        wire_.clear();
        answers_.clear();
        if (core_ == nullptr || random_.below(2) == 0) {
            core_ = std::make_unique<Core>(rules_, core_random_);
        } else {
            relay_marks();
        }
        std::vector<Range> open;
        for (const std::uint64_t id : broker_.open) {
            if (!open.empty() && open.back().last + 1 == id) {
                open.back().last = id;
            } else {
                open.push_back({id, id});
            }
        }
        core_->opened(broker_.mark, open, last_id_,
                      table_.empty() ? last_id_ + 1 : *table_.begin());
        for (const auto& [id, due] : parked_) {
            if (!table_.contains(id)) continue;
            core_->load_parked({id, rows_[id].key, 1,
                                due.has_value() ? std::optional<std::uint64_t>(1) : std::nullopt},
                               now_);
        }
        for (const std::uint64_t id : table_) core_->offer_open(id, rows_[id].key);
    }

    void publish(std::uint64_t id) {
        const std::uint64_t floor = core_->floor();
        for (const std::uint64_t below : table_) {
            if (below >= floor) break;
            const bool stored = broker_.mark >= below && !broker_.open.contains(below);
            ASSERT_TRUE(stored) << "the floor " << floor << " is above row " << below;
        }
        if (const auto gap = core_->gap_before(id)) {
            wire_.push_back({{}, *gap, 0});
            core_->held(*gap);
        }
        const bool append = !wire_.empty() && !wire_.back().ids.empty() &&
                            wire_.back().ids.back() + 1 == id && random_.below(6) != 0;
        if (!append) wire_.push_back({{}, {}, floor - 1});
        wire_.back().ids.push_back(id);
        core_->sent(id);
    }

    void relay_sends() {
        for (const std::uint64_t id : core_->due(now_, 5)) {
            if (!core_->may_send(now_)) return;
            if (table_.contains(id)) {
                publish(id);
            } else {
                core_->gone(id);
            }
        }
        for (auto at = table_.upper_bound(core_->read_after());
             core_->may_send(now_) && at != table_.end();
             at = table_.upper_bound(core_->read_after())) {
            const auto verdict = core_->offer(*at, rows_[*at].key, now_);
            if (verdict == Core::Verdict::stop) return;
            ASSERT_NE(verdict, Core::Verdict::rebase);
            if (verdict == Core::Verdict::send) publish(*at);
        }
    }

    void broker_works(std::uint64_t frames) {
        for (; frames > 0 && !wire_.empty(); --frames) {
            const Frame frame = wire_.front();
            wire_.pop_front();
            if (frame.ids.empty()) {
                broker_.hold(frame.hold);
                continue;
            }
            std::vector<ModelBroker::Answer> answers;
            broker_.publish(frame.ids, rows_, frame.settled, answers);
            for (const auto& answer : answers) {
                // A refusal may overtake confirms.
                auto at = answers_.end();
                while (!answer.confirmed && at != answers_.begin() && std::prev(at)->confirmed &&
                       random_.below(3) == 0) {
                    --at;
                }
                answers_.insert(at, answer);
            }
        }
    }

    void relay_hears(std::uint64_t count) {
        for (; count > 0 && !answers_.empty(); --count) {
            const auto answer = answers_.front();
            answers_.pop_front();
            if (answer.confirmed) {
                core_->confirmed(answer.ids, answer.duplicate);
            } else if (answer.code == Code::sequence_gap) {
                core_->not_taken(answer.ids);
            } else {
                const std::uint64_t id = answer.ids.first;
                const auto key =
                    table_.contains(id) ? std::optional<std::string>(rows_[id].key) : std::nullopt;
                core_->refused(id, key, answer.code, "the model says so", now_);
            }
        }
    }

    void relay_marks() {
        for (const Refusal& refusal : core_->refusals()) {
            if (!table_.contains(refusal.id)) continue;
            parked_[refusal.id] = refusal.retry_in_ms.has_value()
                                      ? std::optional<std::uint64_t>(now_ + *refusal.retry_in_ms)
                                      : std::nullopt;
        }
        core_->refusals_written(core_->refusals().size());
        for (const Range& range : core_->finished().all()) {
            table_.erase(table_.lower_bound(range.first), table_.upper_bound(range.last));
            parked_.erase(parked_.lower_bound(range.first), parked_.upper_bound(range.last));
            core_->marked(range);
        }
    }

    SeededRandom random_;
    SeededRandom core_random_;
    Rules rules_;
    ModelBroker broker_;
    std::unique_ptr<Core> core_;
    std::uint64_t now_ = 1000;
    std::uint64_t last_id_ = 0;
    std::map<std::uint64_t, Row> rows_;  // ever committed
    std::set<std::uint64_t> table_;      // still there
    std::set<std::uint64_t> given_up_;   // purged or skipped by the operator
    std::map<std::uint64_t, std::optional<std::uint64_t>> parked_;
    std::deque<Frame> wire_;
    std::deque<ModelBroker::Answer> answers_;
};

void run(std::uint64_t seed, Policy policy) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed, policy);
    for (int i = 0; i < 600; ++i) {
        world.step();
        if (::testing::Test::HasFatalFailure()) return;
    }
    world.heal();
    ASSERT_TRUE(world.all_done()) << "something never arrives";
    world.check();
}

std::uint64_t seeds() {
    const char* const wanted = std::getenv("FERRY_SEEDS");
    return wanted != nullptr ? std::stoull(wanted) : 150;
}

// G50, G51, G52: I1, I2, I3, I4
TEST(RelayCoreModel, every_committed_row_arrives_once_and_in_the_order_of_its_key) {
    for (std::uint64_t seed = 1; seed <= seeds() && !HasFailure(); ++seed) run(seed, Policy::block);
}

// G50, G51: I1, I2, I3
TEST(RelayCoreModel, every_committed_row_arrives_once_when_parked_ones_are_passed) {
    for (std::uint64_t seed = 1; seed <= seeds() && !HasFailure(); ++seed) run(seed, Policy::skip);
}

}  // namespace
}  // namespace ferry::outbox::relay
