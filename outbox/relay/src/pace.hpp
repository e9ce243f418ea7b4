#pragma once

#include <algorithm>
#include <cstdint>

namespace ferry::outbox::relay {

/// How fast a backlog may be sent while the application is committing: a bucket that fills with
/// time. Small pieces matter more than the rate: a commit waits for what is under way.
class Pace {
public:
    /// Requires  rows_per_s > 0.
    explicit Pace(std::uint64_t rows_per_s) : least_(static_cast<double>(rows_per_s) / 1000) {
        set(least_);
    }

    /// So many rows have been added up to now. The pace keeps ahead of them: a backlog shrinks
    /// also when much is added.
    void follow(std::uint64_t rows, std::uint64_t now_ms) {
        if (followed_ms_ != 0 && now_ms > followed_ms_ && rows >= followed_rows_) {
            const auto added = static_cast<double>(rows - followed_rows_);
            added_per_ms_ = added / static_cast<double>(now_ms - followed_ms_);
            set(std::max(least_, 2 * added_per_ms_));
        }
        followed_ms_ = now_ms;
        followed_rows_ = rows;
    }

    /// Lately; 0: not known.
    [[nodiscard]] double added_per_ms() const { return added_per_ms_; }
    /// Rows that may go now.
    [[nodiscard]] std::uint64_t room(std::uint64_t now_ms) {
        const auto passed = static_cast<double>(now_ms - std::min(now_ms, at_ms_));
        at_ms_ = now_ms;
        left_ = std::min(most_, left_ + passed * per_ms_);
        if (left_ < std::min(most_, per_ms_ * piece_ms)) return 0;
        return static_cast<std::uint64_t>(left_);
    }
    void spent(std::uint64_t rows) { left_ -= std::min(left_, static_cast<double>(rows)); }
    /// When room() will be more than nothing.
    [[nodiscard]] std::uint64_t next(std::uint64_t now_ms) const {
        return now_ms + static_cast<std::uint64_t>(piece_ms);
    }

private:
    static constexpr double piece_ms = 2;
    static constexpr double full_ms = 10;

    void set(double per_ms) {
        per_ms_ = per_ms;
        most_ = std::max(1.0, per_ms * full_ms);
    }

    double least_;  // rows per millisecond
    double added_per_ms_ = 0;
    double per_ms_ = 0;
    double most_ = 0;
    double left_ = 0;
    std::uint64_t at_ms_ = 0;
    std::uint64_t followed_rows_ = 0;
    std::uint64_t followed_ms_ = 0;
};

}  // namespace ferry::outbox::relay
