#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ferry/engine/types.hpp"
#include "ferry/wire/hash_ring.hpp"
#include "ferry/wire/message.hpp"
#include "varint.hpp"

namespace ferry::engine {

/// Where messages of one exchange and routing key go.
struct Route {
    bool exchange_exists = false;
    bool exchange_internal = false;
    bool by_headers = false;      // depends on more than exchange and routing key
    bool too_many = false;        // more than limits::queues_per_message_max
    std::vector<QueueId> queues;  // ascending, each once
};

struct Exchange {
    ExchangeType type = ExchangeType::direct;
    ExchangeOptions options;
    bool predeclared = false;
    bool was_bound = false;  // for auto_delete
    std::map<std::string, std::vector<Binding>, std::less<>> by_key;
    std::size_t bindings = 0;
    wire::HashRing ring;  // consistent_hash: of the bindings, see ring_member()
};

/// Exchanges and bindings, and the routes they give. Queue names are resolved by the caller's
/// table. Threads: the engine's. Routes are remembered until the next change or trim_routes();
/// pointers are valid as long.
class Topology {
public:
    Topology();

    using QueueIds = std::map<std::string, QueueId, std::less<>>;
    explicit Topology(const QueueIds& queue_ids) : Topology() { queue_ids_ = &queue_ids; }

    /// The route of a message. Its headers matter only where a headers exchange takes part.
    const Route& route(const wire::MessageView& message);
    /// Forgets remembered routes when there are many. Called when nobody holds one.
    void trim_routes();

    [[nodiscard]] Exchange* find(std::string_view name);
    [[nodiscard]] const Exchange* find(std::string_view name) const;
    Exchange& add(std::string_view name, ExchangeType type, const ExchangeOptions& options);
    /// Removes it and every binding that leads from or to it.
    void remove(std::string_view name);
    /// Why bind() would refuse a binding of an exchange that exists, as code and text; ok if it
    /// takes it. The same binding once more is no reason.
    struct Objection {
        Code code = Code::ok;
        std::string text;
    };
    [[nodiscard]] Objection objection_to(const Binding& binding) const;
    /// False: it is there already, or there is an objection to it.
    bool bind(const Binding& binding);
    /// False: there is none.
    bool unbind(const Binding& binding);
    /// Removes bindings to a queue; returns auto-delete exchanges that lost their last one.
    std::vector<std::string> forget_destination(std::string_view name, bool is_exchange);
    [[nodiscard]] bool has_binding(const Binding& binding) const;
    /// True if messages entering `from` could come to `to`.
    [[nodiscard]] bool reaches(std::string_view from, std::string_view to) const;

    [[nodiscard]] const std::map<std::string, Exchange, std::less<>>& exchanges() const {
        return exchanges_;
    }
    [[nodiscard]] std::size_t bindings() const { return bindings_; }
    /// Queues or bindings changed.
    void changed() { ++generation_; }
    [[nodiscard]] std::uint64_t generation() const { return generation_; }

    void save(std::vector<std::byte>& out) const;
    [[nodiscard]] bool load(Reader& in);

private:
    struct Walk {
        const wire::MessageView& message;
        const wire::Properties* properties;  // decoded when first needed
        std::vector<const Exchange*> seen;
        bool uses_headers = false;
    };
    void follow_ring(const Exchange& exchange, Walk& walk, unsigned hops, Route& out);
    const wire::Properties& properties_of(Walk& walk);
    void remove_from_ring(Exchange& exchange, const Binding& binding);
    void collect(const Exchange& exchange, Walk& walk, unsigned hops, Route& out);
    void follow(const std::vector<Binding>& bindings, Walk& walk, unsigned hops, Route& out);
    void forget_routes();
    void compute(const wire::MessageView& message, Route& out, bool& cacheable);

    struct TextHash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const {
            return std::hash<std::string_view>{}(text);
        }
    };
    // Looked up, never walked: its order cannot matter.
    using RouteTable =
        std::unordered_map<std::string, std::unique_ptr<Route>, TextHash, std::equal_to<>>;

    const QueueIds* queue_ids_ = nullptr;
    std::map<std::string, Exchange, std::less<>> exchanges_;
    std::size_t bindings_ = 0;
    std::size_t ring_points_ = 0;  // of all exchanges
    std::uint64_t generation_ = 0;

    std::uint64_t cached_generation_ = 0;
    RouteTable routes_;
    std::string cache_key_;
    // Found last: messages often go to a few places in turn.
    struct Recent {
        std::string exchange;
        std::string routing_key;
        const Route* route = nullptr;
    };
    std::array<Recent, 4> recent_;
    std::size_t next_recent_ = 0;
    Route uncached_;
    wire::Properties properties_;
};

/// AMQP topic patterns: words between dots, * for one word, # for any number.
[[nodiscard]] bool topic_matches(std::string_view pattern, std::string_view key);
/// A binding of a consistent-hash exchange has its weight as key: 1 to limits::ring_weight_max. 0:
/// the key is something else.
[[nodiscard]] std::uint32_t ring_weight(std::string_view key);
/// The name under which a binding's destination is on the ring of its exchange.
[[nodiscard]] std::string ring_member(const Binding& binding);
void put_exchange_options(std::vector<std::byte>& out, ExchangeType type,
                          const ExchangeOptions& options);
/// Reads type and options; rejects what cannot be.
[[nodiscard]] std::pair<ExchangeType, ExchangeOptions> get_exchange_options(Reader& in);
[[nodiscard]] bool headers_match(const Arguments& arguments, const wire::Headers& headers);

}  // namespace ferry::engine
