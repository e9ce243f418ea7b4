// Random clients, lagging syncs, crashes and restarts against the engine; see engine_model.hpp.

#include <gtest/gtest.h>

#include <cstdlib>

#include "engine_model.hpp"

namespace ferry::engine::testing {
namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(EngineModel, HoldsItsPromisesUnderRandomClientsAndCrashes) {
    const std::uint64_t first = number_from("FERRY_SEED", 1);
    const std::uint64_t seeds = number_from("FERRY_SEEDS", 100);
    std::uint64_t crashes = 0, delivered = 0, blocks = 0, loads = 0, transactions = 0;
    std::uint64_t checks = 0, submitted = 0, granted = 0;
    for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
        SCOPED_TRACE("FERRY_SEED=" + std::to_string(seed) + " FERRY_SEEDS=1");
        EngineModel model(seed);
        model.run(400);
        crashes += model.crashes;
        delivered += model.delivered;
        blocks += model.blocks;
        loads += model.loads;
        transactions += model.transactions;
        checks += model.checks;
        submitted += model.submitted;
        granted += model.granted;
        for (const std::string& problem : model.problems) ADD_FAILURE() << problem;
        if (!model.problems.empty()) break;
    }
    RecordProperty("crashes", std::to_string(crashes));
    if (seeds < 50) return;
    // A model that never gets there proves nothing.
    EXPECT_GT(crashes, seeds);
    EXPECT_GT(delivered, seeds * 50);
    EXPECT_GT(blocks, seeds / 4);
    EXPECT_GT(loads, seeds / 4);
    EXPECT_GT(transactions, seeds);
    EXPECT_GT(checks, seeds);
    EXPECT_GT(submitted, seeds);
    EXPECT_GT(granted, seeds * 5);
}

TEST(EngineModel, DoesTheSameForTheSameCommands) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        EngineModel one(seed);
        EngineModel other(seed);
        one.run(400);
        other.run(400);
        EXPECT_EQ(one.fingerprint, other.fingerprint) << "seed " << seed;
    }
}

}  // namespace
}  // namespace ferry::engine::testing
