#include "topology.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"
#include "records.hpp"

namespace ferry::engine {
namespace {

constexpr std::size_t cached_routes_max = 65'536;

struct NextWord {
    std::string_view word;
    std::string_view rest;
    bool more = false;
};
NextWord next_word(std::string_view text) {
    const std::size_t dot = text.find('.');
    if (dot == std::string_view::npos) return {text, {}, false};
    return {text.substr(0, dot), text.substr(dot + 1), true};
}

std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> words;
    for (bool more = !text.empty(); more;) {
        const NextWord next = next_word(text);
        words.push_back(next.word);
        text = next.rest;
        more = next.more;
    }
    return words;
}

bool same_value(const Argument& wanted, const wire::HeaderValue& have) {
    if (const auto* text = std::get_if<std::string>(&wanted)) {
        const auto* other = std::get_if<std::string>(&have);
        return other != nullptr && *other == *text;
    }
    if (const auto* number = std::get_if<std::int64_t>(&wanted)) {
        const auto* other = std::get_if<std::int64_t>(&have);
        return other != nullptr && *other == *number;
    }
    if (const auto* flag = std::get_if<bool>(&wanted)) {
        const auto* other = std::get_if<bool>(&have);
        return other != nullptr && *other == *flag;
    }
    if (const auto* real = std::get_if<double>(&wanted)) {
        const auto* other = std::get_if<double>(&have);
        return other != nullptr && *other == *real;
    }
    return true;  // nil: the header has to be there, with any value
}

}  // namespace

bool topic_matches(std::string_view pattern, std::string_view key) {
    const std::vector<std::string_view> want = words_of(pattern);
    const std::vector<std::string_view> have = words_of(key);
    // The classical wildcard walk: remember the last '#', and let it take one word more on a
    // mismatch.
    std::size_t w = 0;
    std::size_t h = 0;
    std::size_t star = std::string_view::npos;
    std::size_t mark = 0;
    while (h < have.size()) {
        if (w < want.size() && want[w] == "#") {
            star = w++;
            mark = h;
        } else if (w < want.size() && (want[w] == "*" || want[w] == have[h])) {
            ++w;
            ++h;
        } else if (star != std::string_view::npos) {
            w = star + 1;
            h = ++mark;
        } else {
            return false;
        }
    }
    while (w < want.size() && want[w] == "#") ++w;
    return w == want.size();
}

bool headers_match(const Arguments& arguments, const wire::Headers& headers) {
    bool any = false;
    for (const auto& [name, value] : arguments) {
        const auto* text = std::get_if<std::string>(&value);
        if (name == "x-match" && text != nullptr) any = *text == "any" || *text == "any-with-x";
    }
    for (const auto& [name, value] : arguments) {
        if (name.starts_with("x-")) continue;
        const std::string& wanted = name;
        const auto at = std::find_if(headers.begin(), headers.end(),
                                     [&](const auto& header) { return header.first == wanted; });
        const bool matches = at != headers.end() && same_value(value, at->second);
        if (any && matches) return true;
        if (!any && !matches) return false;
    }
    return !any;
}

std::uint32_t ring_weight(std::string_view key) {
    if (key.empty() || key.size() > 4 || key.front() == '0') return 0;
    std::uint32_t weight = 0;
    for (const char c : key) {
        if (c < '0' || c > '9') return 0;
        weight = weight * 10 + static_cast<std::uint32_t>(c - '0');
    }
    return weight <= limits::ring_weight_max ? weight : 0;
}

std::string ring_member(const Binding& binding) {
    return (binding.to_exchange ? "exchange/" : "queue/") + binding.destination;
}

void put_exchange_options(std::vector<std::byte>& out, ExchangeType type,
                          const ExchangeOptions& options) {
    put_u8(out, static_cast<std::uint8_t>(type));
    put_u8(out, static_cast<std::uint8_t>((options.auto_delete ? 1 : 0) |
                                          (options.internal ? 2 : 0) | (options.durable ? 4 : 0)));
    if (type != ExchangeType::consistent_hash) return;
    put_u8(out, static_cast<std::uint8_t>(options.hash_on));
    put_text(out, options.hash_header);
}

std::pair<ExchangeType, ExchangeOptions> get_exchange_options(Reader& in) {
    const auto type = static_cast<ExchangeType>(in.bounded<std::uint8_t>(exchange_type_max));
    const std::uint8_t flags = in.u8();
    ExchangeOptions options;
    options.auto_delete = (flags & 1U) != 0;
    options.internal = (flags & 2U) != 0;
    options.durable = (flags & 4U) != 0;
    if (type == ExchangeType::consistent_hash) {
        options.hash_on = static_cast<HashOn>(in.bounded<std::uint8_t>(2));
        options.hash_header = in.text();
        const bool named = !options.hash_header.empty();
        if (named != (options.hash_on == HashOn::header) ||
            options.hash_header.size() > limits::short_text_bytes_max) {
            in.reject();
        }
    }
    return {type, options};
}

Topology::Topology() {
    const auto predeclare = [&](std::string_view name, ExchangeType type) {
        add(name, type, {}).predeclared = true;
    };
    predeclare("amq.direct", ExchangeType::direct);
    predeclare("amq.fanout", ExchangeType::fanout);
    predeclare("amq.topic", ExchangeType::topic);
    predeclare("amq.headers", ExchangeType::headers);
    predeclare("amq.match", ExchangeType::headers);
}

Exchange* Topology::find(std::string_view name) {
    const auto at = exchanges_.find(name);
    return at == exchanges_.end() ? nullptr : &at->second;
}
const Exchange* Topology::find(std::string_view name) const {
    const auto at = exchanges_.find(name);
    return at == exchanges_.end() ? nullptr : &at->second;
}

Exchange& Topology::add(std::string_view name, ExchangeType type, const ExchangeOptions& options) {
    changed();
    Exchange& exchange = exchanges_[std::string(name)];
    exchange.type = type;
    exchange.options = options;
    return exchange;
}

void Topology::remove(std::string_view name) {
    const auto at = exchanges_.find(name);
    FERRY_ASSERT(at != exchanges_.end() && !at->second.predeclared,
                 "only declared exchanges are removed");
    bindings_ -= at->second.bindings;
    ring_points_ -= at->second.ring.points();
    exchanges_.erase(at);
    changed();
}

bool Topology::has_binding(const Binding& binding) const {
    const Exchange* exchange = find(binding.source);
    if (exchange == nullptr) return false;
    const auto at = exchange->by_key.find(binding.key);
    return at != exchange->by_key.end() &&
           std::find(at->second.begin(), at->second.end(), binding) != at->second.end();
}

Topology::Objection Topology::objection_to(const Binding& binding) const {
    const Exchange* exchange = find(binding.source);
    FERRY_ASSERT(exchange != nullptr, "the source was checked");
    if (exchange->type != ExchangeType::consistent_hash) return {};
    const std::uint32_t weight = ring_weight(binding.key);
    if (weight == 0) {
        return {Code::bad_option,
                "a binding of a consistent-hash exchange has its weight as key, 1 to " +
                    std::to_string(limits::ring_weight_max)};
    }
    if (has_binding(binding)) return {};
    if (exchange->ring.member(ring_member(binding)) != nullptr) {
        return {Code::declared_differently,
                "'" + binding.destination + "' is bound to '" + binding.source +
                    "' with another weight or other arguments; unbind that first"};
    }
    const std::size_t more = std::size_t{weight} * limits::ring_points_per_weight;
    if (exchange->ring.points() + more > limits::ring_points_max ||
        ring_points_ + more > limits::ring_points_total_max) {
        return {Code::limit_reached,
                "the weights of a consistent-hash exchange add up to at most " +
                    std::to_string(limits::ring_points_max / limits::ring_points_per_weight) +
                    ", those of all to " +
                    std::to_string(limits::ring_points_total_max / limits::ring_points_per_weight)};
    }
    return {};
}

bool Topology::bind(const Binding& binding) {
    if (has_binding(binding)) return false;
    Exchange* exchange = find(binding.source);
    FERRY_ASSERT(exchange != nullptr, "the source was checked");
    if (exchange->type == ExchangeType::consistent_hash) {
        if (objection_to(binding).code != Code::ok) return false;
        const std::size_t before = exchange->ring.points();
        if (!exchange->ring.add(ring_member(binding), ring_weight(binding.key)).ok()) return false;
        ring_points_ += exchange->ring.points() - before;
    }
    exchange->by_key[binding.key].push_back(binding);
    exchange->was_bound = true;
    ++exchange->bindings;
    ++bindings_;
    changed();
    return true;
}

void Topology::remove_from_ring(Exchange& exchange, const Binding& binding) {
    const std::size_t before = exchange.ring.points();
    exchange.ring.remove(ring_member(binding));
    ring_points_ -= before - exchange.ring.points();
}

bool Topology::unbind(const Binding& binding) {
    Exchange* exchange = find(binding.source);
    if (exchange == nullptr) return false;
    const auto at = exchange->by_key.find(binding.key);
    if (at == exchange->by_key.end()) return false;
    const auto found = std::find(at->second.begin(), at->second.end(), binding);
    if (found == at->second.end()) return false;
    remove_from_ring(*exchange, binding);
    at->second.erase(found);
    if (at->second.empty()) exchange->by_key.erase(at);
    --exchange->bindings;
    --bindings_;
    changed();
    return true;
}

std::vector<std::string> Topology::forget_destination(std::string_view name, bool is_exchange) {
    std::vector<std::string> empty;
    for (auto& [source, exchange] : exchanges_) {
        const std::size_t before = exchange.bindings;
        if (exchange.type == ExchangeType::consistent_hash) {
            Binding gone;
            gone.destination = name;
            gone.to_exchange = is_exchange;
            remove_from_ring(exchange, gone);
        }
        for (auto at = exchange.by_key.begin(); at != exchange.by_key.end();) {
            const std::size_t removed = std::erase_if(at->second, [&](const Binding& b) {
                return b.to_exchange == is_exchange && b.destination == name;
            });
            exchange.bindings -= removed;
            bindings_ -= removed;
            at = at->second.empty() ? exchange.by_key.erase(at) : std::next(at);
        }
        if (exchange.options.auto_delete && before != 0 && exchange.bindings == 0)
            empty.push_back(source);
    }
    changed();
    return empty;
}

bool Topology::reaches(std::string_view from, std::string_view to) const {
    std::vector<std::string> open{std::string(from)};
    std::vector<std::string> seen;
    while (!open.empty()) {
        const std::string name = open.back();
        open.pop_back();
        if (name == to) return true;
        if (std::find(seen.begin(), seen.end(), name) != seen.end()) continue;
        seen.push_back(name);
        const Exchange* exchange = find(name);
        if (exchange == nullptr) continue;
        for (const auto& [key, bindings] : exchange->by_key) {
            for (const Binding& b : bindings) {
                if (b.to_exchange) open.push_back(b.destination);
            }
        }
    }
    return false;
}

void Topology::follow(const std::vector<Binding>& bindings, Walk& walk, unsigned hops, Route& out) {
    for (const Binding& binding : bindings) {
        if (binding.to_exchange) {
            const Exchange* next = find(binding.destination);
            if (next != nullptr) collect(*next, walk, hops + 1, out);
            continue;
        }
        const auto id = queue_ids_->find(binding.destination);
        if (id != queue_ids_->end()) out.queues.push_back(id->second);
    }
}

const wire::Properties& Topology::properties_of(Walk& walk) {
    walk.uses_headers = true;
    if (walk.properties == nullptr) {
        if (!wire::read_properties(walk.message.properties, properties_)) properties_ = {};
        walk.properties = &properties_;
    }
    return *walk.properties;
}

void Topology::follow_ring(const Exchange& exchange, Walk& walk, unsigned hops, Route& out) {
    std::string_view hashed;
    std::string number;
    if (exchange.options.hash_on == HashOn::ordering_key) {
        walk.uses_headers = true;
        hashed = wire::ordering_key_of(walk.message.properties);
    } else if (exchange.options.hash_on == HashOn::header) {
        for (const auto& [name, value] : properties_of(walk).headers) {
            if (name != exchange.options.hash_header) continue;
            if (const auto* text = std::get_if<std::string>(&value)) hashed = *text;
            if (const auto* bytes = std::get_if<std::vector<std::byte>>(&value))
                hashed = as_text(*bytes);
            if (const auto* whole = std::get_if<std::int64_t>(&value))
                hashed = number = std::to_string(*whole);
        }
    }
    if (hashed.empty()) hashed = walk.message.routing_key;
    const wire::HashRing::Member* member = exchange.ring.find(hashed);
    if (member == nullptr) return;
    const std::string_view name = member->name;
    Binding binding;
    binding.to_exchange = name.front() == 'e';
    binding.destination = name.substr(name.find('/') + 1);
    follow({binding}, walk, hops, out);
}

void Topology::collect(const Exchange& exchange, Walk& walk, unsigned hops, Route& out) {
    if (hops > limits::exchange_hops_max) return;
    if (std::find(walk.seen.begin(), walk.seen.end(), &exchange) != walk.seen.end()) return;
    walk.seen.push_back(&exchange);
    const std::string_view key = walk.message.routing_key;
    if (exchange.type == ExchangeType::direct) {
        const auto at = exchange.by_key.find(key);
        if (at != exchange.by_key.end()) follow(at->second, walk, hops, out);
        return;
    }
    if (exchange.type == ExchangeType::consistent_hash)
        return follow_ring(exchange, walk, hops, out);
    for (const auto& [pattern, bindings] : exchange.by_key) {
        if (exchange.type == ExchangeType::topic && !topic_matches(pattern, key)) continue;
        if (exchange.type != ExchangeType::headers) {
            follow(bindings, walk, hops, out);
            continue;
        }
        for (const Binding& binding : bindings) {
            if (headers_match(binding.arguments, properties_of(walk).headers))
                follow({binding}, walk, hops, out);
        }
    }
}

void Topology::compute(const wire::MessageView& message, Route& out, bool& cacheable) {
    out = Route{};
    cacheable = true;
    if (message.exchange.empty()) {
        out.exchange_exists = true;
        const auto id = queue_ids_->find(message.routing_key);
        if (id != queue_ids_->end()) out.queues.push_back(id->second);
        return;
    }
    const Exchange* exchange = find(message.exchange);
    if (exchange == nullptr) return;
    out.exchange_exists = true;
    out.exchange_internal = exchange->options.internal;
    Walk walk{message, nullptr, {}, false};
    collect(*exchange, walk, 0, out);
    cacheable = !walk.uses_headers;
    out.by_headers = walk.uses_headers;
    std::sort(out.queues.begin(), out.queues.end());
    out.queues.erase(std::unique(out.queues.begin(), out.queues.end()), out.queues.end());
    out.too_many = out.queues.size() > limits::queues_per_message_max;
}

void Topology::forget_routes() {
    routes_.clear();
    for (Recent& recent : recent_) recent.route = nullptr;
    cached_generation_ = generation_;
}

void Topology::trim_routes() {
    if (routes_.size() > cached_routes_max) forget_routes();
}

const Route& Topology::route(const wire::MessageView& message) {
    if (cached_generation_ != generation_) forget_routes();
    for (const Recent& recent : recent_) {
        if (recent.route != nullptr && recent.routing_key == message.routing_key &&
            recent.exchange == message.exchange) {
            return *recent.route;
        }
    }
    // Exchange names hold no NUL, so this key is unambiguous.
    cache_key_.assign(message.exchange);
    cache_key_.push_back('\0');
    cache_key_.append(message.routing_key);
    const auto at = routes_.find(std::string_view(cache_key_));
    const Route* found = nullptr;
    if (at != routes_.end()) {
        found = at->second.get();
    } else {
        bool cacheable = false;
        compute(message, uncached_, cacheable);
        if (!cacheable) return uncached_;
        found = routes_.emplace(cache_key_, std::make_unique<Route>(uncached_)).first->second.get();
    }
    Recent& recent = recent_[next_recent_++ % recent_.size()];
    recent.exchange.assign(message.exchange);
    recent.routing_key.assign(message.routing_key);
    recent.route = found;
    return *found;
}

void Topology::save(std::vector<std::byte>& out) const {
    std::size_t declared = 0;
    for (const auto& [name, exchange] : exchanges_) {
        if (!exchange.predeclared) ++declared;
    }
    put_varint(out, declared);
    for (const auto& [name, exchange] : exchanges_) {
        if (exchange.predeclared) continue;
        put_text(out, name);
        put_exchange_options(out, exchange.type, exchange.options);
    }
    put_varint(out, bindings_);
    for (const auto& [name, exchange] : exchanges_) {
        for (const auto& [key, bindings] : exchange.by_key) {
            for (const Binding& binding : bindings) put_binding(out, binding);
        }
    }
}

bool Topology::load(Reader& in) {
    const std::size_t exchanges = in.count(3);
    for (std::size_t i = 0; i < exchanges && in.ok(); ++i) {
        const std::string name(in.text());
        const auto [type, options] = get_exchange_options(in);
        add(name, type, options);
    }
    const std::size_t bindings = in.count(5);
    for (std::size_t i = 0; i < bindings && in.ok(); ++i) {
        const Binding binding = get_binding(in);
        if (in.ok() && find(binding.source) == nullptr) in.reject();
        if (in.ok() && !bind(binding)) in.reject();
    }
    return in.ok();
}

}  // namespace ferry::engine
