#include <algorithm>
#include <vector>

#include "simulation.hpp"

namespace ferry::simulation {
namespace {

/// Tries diets that take more and more away, and keeps the smallest that still fails. What is taken
/// away late in a run changes nothing of what was before it; so that comes first.
class Shrinker {
public:
    Shrinker(std::uint64_t seed, const Diet& from) : seed_(seed), best_(from) {}

    Diet run() {
        end_early();
        skip_faults();
        leave_out();
        divide();
        end_early();
        skip_faults();
        return best_;
    }

private:
    bool try_one(const Diet& diet) {
        Outcome outcome = simulate(seed_, diet);
        if (outcome.failure.empty()) return false;
        best_ = diet;
        return true;
    }

    /// The end of the faults, halving what is not known.
    void end_early() {
        const std::uint64_t drawn_ms = draw(seed_, best_).duration_ns / ms;
        std::uint64_t fails = best_.until_ms == 0 ? drawn_ms : best_.until_ms;
        std::uint64_t holds = 0;
        while (fails - holds > std::max<std::uint64_t>(20, fails / 50)) {
            Diet diet = best_;
            diet.until_ms = holds + (fails - holds) / 2;
            (try_one(diet) ? fails : holds) = diet.until_ms;
        }
    }

    /// Half of them, a quarter, … each; the latest first.
    void skip_faults() {
        const std::uint32_t struck = simulate(seed_, best_).struck;
        std::vector<std::uint32_t> left;
        for (std::uint32_t i = struck; i > 0; --i)
            if (best_.skipped.count(i) == 0) left.push_back(i);
        for (std::size_t size = std::max<std::size_t>(left.size(), 1); size > 0; size /= 2) {
            for (std::size_t at = 0; at < left.size();) {
                const auto first = left.begin() + static_cast<std::ptrdiff_t>(at);
                const auto last =
                    first + static_cast<std::ptrdiff_t>(std::min(size, left.size() - at));
                Diet diet = best_;
                diet.skipped.insert(first, last);
                if (try_one(diet)) {
                    left.erase(first, last);
                } else {
                    at += size;
                }
            }
        }
    }

    /// Kinds of faults and features: another run altogether, which fails by luck or because it is
    /// easy.
    void leave_out() {
        for (std::size_t i = 0; i < feature_count; ++i) {
            if (!draw(seed_, best_).has(static_cast<Feature>(i))) continue;
            Diet diet = best_;
            diet.without_features |= 1U << i;
            (void)try_one(diet);
        }
        for (std::size_t i = 0; i < fault_count; ++i) {
            if (!draw(seed_, best_).has(static_cast<Fault>(i))) continue;
            Diet diet = best_;
            diet.without |= 1U << i;
            (void)try_one(diet);
        }
    }

    void divide() {
        for (bool smaller = true; smaller;) {
            Diet diet = best_;
            diet.actors_divisor *= 2;
            smaller = diet.actors_divisor <= 8 && try_one(diet);
            diet = best_;
            diet.messages_divisor *= 2;
            smaller = (diet.messages_divisor <= 64 && try_one(diet)) || smaller;
        }
    }

    const std::uint64_t seed_;
    Diet best_;
};

}  // namespace

std::string text_of(const Diet& diet) {
    std::string names;
    const auto without = [&](const char* name) {
        names += (names.empty() ? "" : ",") + std::string(name);
    };
    for (std::size_t i = 0; i < fault_count; ++i)
        if (((diet.without >> i) & 1U) != 0) without(name_of(static_cast<Fault>(i)));
    for (std::size_t i = 0; i < feature_count; ++i)
        if (((diet.without_features >> i) & 1U) != 0) without(name_of(static_cast<Feature>(i)));
    std::string out = names.empty() ? "" : " --without " + names;
    const auto divisor = [&](const char* name, std::uint64_t value) {
        if (value > 1) out += std::string(" --divide ") + name + "=" + std::to_string(value);
    };
    divisor("actors", diet.actors_divisor);
    divisor("messages", diet.messages_divisor);
    if (diet.until_ms != 0) out += " --until " + std::to_string(diet.until_ms);
    for (const std::uint32_t number : diet.skipped)
        out += (number == *diet.skipped.begin() ? " --skip " : ",") + std::to_string(number);
    return out;
}

Diet shrink(std::uint64_t seed, const Diet& from) {
    return Shrinker(seed, from).run();
}

}  // namespace ferry::simulation
