#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "consumer.hpp"

namespace ferry::simulation {

/// A transaction as the client library put it into a frame.
struct WireTransaction {
    std::uint64_t seq = 0;
    std::vector<std::pair<std::uint64_t, bool>> tags;  // and whether it is rejected
    std::vector<std::uint64_t> ids;                    // of what it publishes
};

/// Hears both sides of one connection of the client library: what the broker says, and what the
/// library says, when it hands it to its kernel. So the notes are of what was really asked, how
/// often and under which sequences, and do not believe the library.
class LibraryTap final : public DeliverTap {
public:
    /// Who uses the library: knows what it meant.
    class User {
    public:
        virtual ~User() = default;
        /// Null: it never published that.
        [[nodiscard]] virtual const Note* published(std::uint64_t id) const = 0;
        /// The broker has told this life of it of a sequence.
        virtual void told(std::uint64_t /*life*/, std::uint64_t /*seq*/, bool /*confirmed*/) {}
        /// Of settling; it is not asked about those in transactions.
        [[nodiscard]] virtual bool meant(std::uint64_t /*tag*/, history::What /*what*/) const {
            return false;
        }
        virtual void sent(LibraryTap& /*tap*/, const WireTransaction& /*what*/) {}
        virtual void transaction_told(LibraryTap& /*tap*/, std::uint64_t /*seq*/, bool /*done*/) {}
    };

    LibraryTap(World& world, Recorder& recorder, User& user, std::uint32_t process,
               std::uint32_t queue, std::uint64_t life);
    /// The library hands these bytes to its kernel.
    void heard(Bytes bytes);
    /// Transactions are told of by life.
    [[nodiscard]] std::uint64_t life() const { return life_; }
    /// The broker has granted a subscription of it.
    [[nodiscard]] bool subscribed() const { return subscribed_; }
    /// A transaction settled these.
    void over(const std::vector<std::uint64_t>& tags);

private:
    struct Opened {
        std::uint64_t epoch = 0;
        bool transactions = false;
    };

    void said_other(const wire::FrameHead& head, wire::Cursor& cursor) override;
    void said_opened(std::uint64_t request, wire::Cursor& cursor);
    void said_outcome(const wire::FrameHead& head, wire::Cursor& cursor);
    void heard_frame(const wire::FrameHead& head, wire::Cursor& cursor);
    void heard_producer(const wire::FrameHead& head, wire::Cursor& cursor);
    void heard_publish(const wire::FrameHead& head, wire::Cursor& cursor);
    void heard_settle(const wire::FrameHead& head, wire::Cursor& cursor);
    void heard_transactions(const wire::FrameHead& head, wire::Cursor& cursor);
    bool read_item(wire::Cursor& cursor, WireTransaction& out, std::uint32_t& messages);
    void wrong(const char* what);
    /// In the notes: lives under names of the library's making are producers of their own.
    [[nodiscard]] std::uint64_t noted_epoch(const Opened& of) const {
        return (life_ << 32U) | of.epoch;
    }

    World& world_;
    Recorder& recorder_;
    User& user_;
    const std::uint32_t process_;
    const std::uint64_t life_;
    wire::Buffer partial_;
    std::set<std::uint64_t> subscribing_;  // requests
    bool subscribed_ = false;
    std::map<std::uint64_t, bool> opening_;   // requests; true: of the producer of transactions
    std::map<std::uint64_t, Opened> opened_;  // by handle
};

}  // namespace ferry::simulation
