#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "chaos/plan.hpp"
#include "chaos/recorder.hpp"
#include "ferry/outbox/outbox.hpp"
#include "ferry/platform/random.hpp"

namespace ferry::cli::chaos {

/// An application with an outbox: transactions at an even rate, one in ten rolled back. It is never
/// killed, because it writes the history.
///
/// Threads   start() makes one; stop() and the destructor join it.
class Producer {
public:
    /// Makes the database. Errors: a sentence.
    static ResultOr<std::unique_ptr<Producer>, std::string> open(const Plan& plan,
                                                                 const std::string& database,
                                                                 Recorder& recorder);
    void start();
    void stop();
    ~Producer();
    Producer(const Producer&) = delete;
    Producer& operator=(const Producer&) = delete;

    /// Rows that the relay has not marked as sent; any thread. Nothing: it cannot be read now.
    [[nodiscard]] std::optional<std::int64_t> left() const;
    [[nodiscard]] std::uint64_t committed() const { return committed_; }
    [[nodiscard]] std::uint64_t rolled_back() const { return rolled_back_; }

private:
    Producer(const Plan& plan, std::string database, outbox::Outbox box, Recorder& recorder);
    void run();
    void transact(std::uint64_t id);
    [[nodiscard]] history::Type attempt(std::uint64_t id, std::uint64_t key, bool roll_back);

    const Plan& plan_;
    std::string database_;
    outbox::Outbox box_;
    Recorder& recorder_;
    SeededRandom random_;
    std::atomic<bool> ending_{false};
    std::atomic<std::uint64_t> committed_{0};
    std::atomic<std::uint64_t> rolled_back_{0};
    std::thread thread_;
};

/// `text` with every {id} and {key} filled in.
[[nodiscard]] std::string filled_in(std::string_view text, std::uint64_t id, std::string_view key);

}  // namespace ferry::cli::chaos
