#pragma once

#include <map>
#include <memory>
#include <string>

#include "library_client.hpp"

namespace ferry::simulation {

/// Consumes one queue through the client library, by a handler or by fetching: thinks, then acks,
/// gives back, rejects, asks for more time, or forgets about it until the lease is over.
class LibraryConsumer : public LibraryClient {
public:
    LibraryConsumer(Stage& stage, std::uint32_t process, std::uint32_t queue);
    ~LibraryConsumer() override { finish(); }
    [[nodiscard]] std::string unrest() const override;

protected:
    /// A delivery that was not settled.
    struct Held {
        transport::DeliveryTag tag;
        std::uint64_t id = 0;
    };
    /// What it does with a delivery.
    virtual void handle(const Held& message);
    void settle(const Held& message, history::What how);
    [[nodiscard]] bool holds(const transport::DeliveryTag& tag) const;
    /// It was settled in another way.
    void drop(const transport::DeliveryTag& tag);

    void choose(transport::ClientOptions& options) override;
    void begun() override;
    void on_killed() override;
    void on_lost() override;

private:
    void subscribe();
    void again();
    void fetch();
    void received(const transport::Delivery& delivery);
    [[nodiscard]] bool meant(std::uint64_t tag, history::What what) const override;

    const bool fetches_;
    std::shared_ptr<transport::Subscription> subscription_;
    bool planned_ = false;  // to subscribe again
    // By tag_of(), of this connection:
    std::map<std::uint64_t, Held> held_;
    std::map<std::uint64_t, history::What> settled_;  // what it asked for
};

}  // namespace ferry::simulation
