#pragma once

#include <map>
#include <set>
#include <string>

#include "library_client.hpp"

namespace ferry::simulation {

/// Publishes through the client library: named, and with the next epoch in each life, or under a
/// name of the library's making; message by message or many at once; into a window that may be
/// full. What was surely not stored it publishes again.
class LibraryProducer final : public LibraryClient {
public:
    LibraryProducer(Stage& stage, std::uint32_t process);
    ~LibraryProducer() override { finish(); }
    /// Nothing new any more.
    void heal() { most_ = made_; }
    [[nodiscard]] std::string unrest() const override;

private:
    struct Message {
        Note note;
        std::string payload;
    };
    /// What the broker told of a sequence.
    struct Told {
        bool confirmed = false;
        bool refused = false;
    };

    void choose(transport::ClientOptions& options) override;
    void begun() override;
    void on_killed() override;
    [[nodiscard]] const Note* published(std::uint64_t id) const override;
    void told(std::uint64_t life, std::uint64_t seq, bool confirmed) override;
    void plan();
    void make();
    [[nodiscard]] Message new_message(std::uint32_t queue);
    [[nodiscard]] std::uint32_t any_queue();
    void offer();
    bool offer_one();
    bool offer_many();
    void taken(std::uint64_t seq, std::uint64_t id);
    void ended(std::uint64_t seq, const transport::Outcome& outcome);

    const bool named_;
    const bool by_range_;  // it hears of what became of its messages by ranges
    std::uint64_t most_;
    std::uint64_t made_ = 0;
    std::uint64_t epoch_ = 0;
    std::map<std::uint64_t, Message> messages_;         // by id: every one there ever was
    std::map<std::uint64_t, std::uint64_t> unsettled_;  // ids, by sequence
    std::set<std::uint64_t> waiting_;                   // ids that the library has not yet taken
    std::map<std::uint64_t, Told> told_;                // by sequence of this life
    bool planned_ = false;
};

}  // namespace ferry::simulation
