// Which outcomes of a power cut are tried, in which order.

#include "ferry/platform/sim/crash_states.hpp"

#include <unordered_set>

#include "crash_model.hpp"
#include "ferry/platform/random.hpp"

namespace ferry::sim {

class CrashStates::Model {
public:
    Model(const Journal& journal, Profile profile, const CrashLimits& limits)
        : disk_(journal, profile, limits.seed),
          profile_(profile),
          limits_(limits),
          random_(limits.seed) {}

    std::uint64_t at(std::size_t point, const Visit& visit) {
        disk_.advance(point);
        visit_ = &visit;
        seen_.clear();
        tried_ = 0;
        sampled_ = false;
        const std::size_t pending = disk_.pending().size();
        if (profile_ == Profile::prefix_only) {
            try_prefixes();
        } else if (pending <= limits_.exhaustive_max && exhaustive_size() <= limits_.states_max) {
            try_everything();
        } else {
            sampled_ = true;
            try_selection();
        }
        visit_ = nullptr;
        return seen_.size();
    }

    [[nodiscard]] std::size_t pending() const { return disk_.pending().size(); }
    [[nodiscard]] bool sampled() const { return sampled_; }

    [[nodiscard]] std::string description() const {
        std::string text;
        for (std::size_t i = 0; i < current_.survives.size(); ++i) {
            const Pending& item = disk_.pending()[i];
            text += current_.survives[i] ? "  kept " : "  LOST ";
            text += std::to_string(item.operation) + ": " +
                    describe(disk_.journal().operations[item.operation]);
            if (i == current_.torn) text += torn_text();
            text += "\n";
        }
        return text;
    }

private:
    [[nodiscard]] std::string torn_text() const {
        static constexpr const char* kept[] = {"first ", "last ", "all sectors but number "};
        static constexpr const char* rest[] = {"nothing", "zeros", "garbage", "stale bytes"};
        return std::string(" TORN, kept: ") + kept[static_cast<std::size_t>(current_.tear.kept)] +
               std::to_string(current_.tear.sectors) +
               ", beyond the old end: " + rest[static_cast<std::size_t>(current_.tear.rest)];
    }

    [[nodiscard]] Outcome outcome_of(std::uint64_t bits) const {
        Outcome outcome;
        outcome.survives.resize(pending());
        for (std::size_t i = 0; i < pending(); ++i) outcome.survives[i] = ((bits >> i) & 1U) != 0;
        return outcome;
    }
    [[nodiscard]] Outcome first(std::size_t count) const {
        Outcome outcome;
        outcome.survives.resize(pending());
        for (std::size_t i = 0; i < count; ++i) outcome.survives[i] = true;
        return outcome;
    }

    void try_one(Outcome outcome) {
        if (profile_ == Profile::ext4_ordered) keep_names_in_order(outcome);
        ++tried_;
        const DiskImage image = disk_.build(outcome);
        const std::uint64_t hash = image.hash();
        if (!seen_.insert(hash).second) return;
        current_ = std::move(outcome);
        (*visit_)(image, hash);
    }

    void keep_names_in_order(Outcome& outcome) const {
        bool lost = false;
        for (std::size_t i = 0; i < pending(); ++i) {
            if (!disk_.pending()[i].of_names) continue;
            lost = lost || !outcome.survives[i];
            if (lost) outcome.survives[i] = false;
        }
    }

    void try_tears(Outcome outcome, std::size_t item) {
        outcome.torn = item;
        for (const Tear& tear : disk_.pending()[item].tears) {
            outcome.tear = tear;
            try_one(outcome);
        }
    }

    void try_prefixes() {
        for (std::size_t count = 0; count <= pending(); ++count) {
            try_one(first(count));
            if (count > 0) try_tears(first(count), count - 1);
        }
    }

    [[nodiscard]] std::uint64_t exhaustive_size() const {
        const std::uint64_t subsets = 1ULL << pending();
        std::uint64_t tears = 0;
        for (const Pending& item : disk_.pending()) tears += item.tears.size();
        return subsets + subsets / 2 * tears;
    }

    void try_everything() {
        const std::uint64_t subsets = 1ULL << pending();
        for (std::uint64_t bits = 0; bits < subsets; ++bits) try_one(outcome_of(bits));
        for (std::uint64_t bits = 0; bits < subsets; ++bits) {
            const Outcome outcome = outcome_of(bits);
            for (std::size_t i = 0; i < pending(); ++i) {
                if (outcome.survives[i]) try_tears(outcome, i);
            }
        }
    }

    void try_selection() {
        const std::size_t count = pending();
        if (count <= limits_.exhaustive_max && (1ULL << count) <= limits_.states_max / 2) {
            for (std::uint64_t bits = 0; bits < (1ULL << count); ++bits) try_one(outcome_of(bits));
        }
        for (std::size_t i = 0; i <= count; ++i) try_one(first(i));
        for (std::size_t i = 0; i < count; ++i) {
            Outcome all_but_one = first(count);
            all_but_one.survives[i] = false;
            try_one(all_but_one);
            Outcome only_one = first(0);
            only_one.survives[i] = true;
            try_one(only_one);
        }
        for (std::size_t i = 0; i < count && tried_ < limits_.states_max; ++i) {
            try_tears(first(count), i);
            try_tears(first(i + 1), i);
        }
        for (std::size_t i = 0; i < limits_.samples && tried_ < limits_.states_max; ++i) {
            try_one(random_outcome());
        }
    }

    Outcome random_outcome() {
        Outcome outcome = first(0);
        const std::uint64_t kept_of_eight = 1 + random_.below(7);
        for (std::size_t i = 0; i < pending(); ++i) {
            outcome.survives[i] = random_.below(8) < kept_of_eight;
        }
        const std::size_t torn = random_.below(pending());
        const std::vector<Tear>& tears = disk_.pending()[torn].tears;
        if (outcome.survives[torn] && !tears.empty() && random_.below(4) > 0) {
            outcome.torn = torn;
            outcome.tear = tears[random_.below(tears.size())];
        }
        return outcome;
    }

    CrashModel disk_;
    Profile profile_;
    CrashLimits limits_;
    SeededRandom random_;
    const Visit* visit_ = nullptr;
    std::unordered_set<std::uint64_t> seen_;
    std::uint64_t tried_ = 0;
    bool sampled_ = false;
    Outcome current_;
};

CrashStates::CrashStates(const Journal& journal, Profile profile, CrashLimits limits)
    : model_(std::make_unique<Model>(journal, profile, limits)) {}
CrashStates::~CrashStates() = default;

std::uint64_t CrashStates::at(std::size_t point, const Visit& visit) {
    return model_->at(point, visit);
}
std::size_t CrashStates::pending() const {
    return model_->pending();
}
bool CrashStates::sampled() const {
    return model_->sampled();
}
std::string CrashStates::description() const {
    return model_->description();
}

}  // namespace ferry::sim
