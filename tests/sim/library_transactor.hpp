#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "library_consumer.hpp"
#include "transactor.hpp"

namespace ferry::simulation {

/// As Transactor, by the transactions of the client library, several of which may be under way: it
/// finds out by itself what became of those whose connection was lost, and what it tells has to be
/// true.
class LibraryTransactor final : public LibraryConsumer {
public:
    LibraryTransactor(Stage& stage, std::uint32_t process, std::uint32_t queue, Results& results);
    ~LibraryTransactor() override { finish(); }
    [[nodiscard]] std::string unrest() const override;

private:
    /// A commit, from when the library took it until it told how it ended.
    struct Deal {
        Exchange exchange;  // its seq and group are those under which it was sent last
        std::vector<Held> inputs;
        std::vector<std::pair<std::uint64_t, bool>> tags;  // sorted, and whether it is rejected
        bool sent = false;
        bool committed = false;  // so the library said
    };
    using DealRef = std::shared_ptr<Deal>;

    void begun() override;
    void on_killed() override;
    void handle(const Held& message) override;
    void sent(LibraryTap& tap, const WireTransaction& what) override;
    void transaction_told(LibraryTap& tap, std::uint64_t seq, bool done) override;
    void plan();
    void commit();
    [[nodiscard]] DealRef gather();
    void add(transport::Transaction& transaction, Deal& deal);
    void ended(const DealRef& deal, const transport::Answer<transport::Committed>& outcome);
    void refused(const DealRef& deal, const transport::ClientError& why);
    void note(Deal& deal, history::Type type);

    Results& results_;
    std::vector<Held> inputs_;   // that wait
    std::vector<Note> waiting_;  // own messages whose transaction did not happen
    std::vector<DealRef> under_way_;
    std::map<std::pair<std::uint64_t, std::uint64_t>, DealRef> by_sequence_;  // of a life
    std::uint64_t own_left_;  // messages that it makes by itself
    bool planned_ = false;
};

}  // namespace ferry::simulation
