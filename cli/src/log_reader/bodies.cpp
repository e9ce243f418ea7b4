#include "log_reader/bodies.hpp"

#include <array>
#include <bit>
#include <string>

#include "log_reader/byte_reader.hpp"
#include "log_reader/hex.hpp"
#include "log_reader/msgpack.hpp"

namespace ferry::log_reader {
namespace {

using Json = nlohmann::ordered_json;

const char* property_name(const std::string& key) {
    constexpr std::array names{"id",           "ordering_key",  "headers",    "content_type",
                               "published_at", "expires_at",    "deliver_at", "priority",
                               "reply_to",     "correlation_id"};
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (key == std::to_string(i + 1)) return names[i];
    }
    return nullptr;
}

Json message_json(const Json& parts, std::uint64_t position) {
    Json out{{"position", position}, {"exchange", parts[0]}, {"routing_key", parts[1]}};
    if (parts[2].is_object()) {
        Json& properties = out["properties"] = Json::object();
        for (const auto& [key, value] : parts[2].items()) {
            const char* name = property_name(key);
            properties[name != nullptr ? name : key] = value;
        }
    }
    out["payload"] = parts[3];
    return out;
}

// Messages stand one after another; the first one's position is `position`.
void read_messages(ByteReader& in, std::uint64_t bytes, std::uint64_t count, std::uint64_t position,
                   Json& list, bool whole) {
    ByteReader part(in.take(bytes));
    if (!whole) return;
    for (std::uint64_t i = 0; i < count && !in.failed(); ++i) {
        Json parts;
        if (!read_msgpack(part, parts) || !parts.is_array() || parts.size() != 4) {
            list.push_back({{"position", position + i}, {"unreadable", true}});
            return;
        }
        list.push_back(message_json(parts, position + i));
    }
}

struct Run {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
};

Json ack_groups_json(ByteReader& in);
Json extent_json(ByteReader& in, std::uint64_t& end);

/// What stands before the messages of a publish that is more than one.
enum class Tail { none, schedule, submit, check };

Json publish_json(ByteReader& in, std::uint64_t position, bool whole, bool acks,
                  Tail tail = Tail::none) {
    Json out{{"wall_ms", in.u64()}};
    const std::uint64_t producer = in.varint();
    if (producer != 0) {
        out["producer"] = producer;
        out["first_sequence"] = in.varint();
        out["sequences"] = in.varint();
        out["settled"] = in.varint();
    }
    std::vector<Run> runs;
    Json& list = out["runs"] = Json::array();
    for (std::uint64_t i = in.count(); i > 0 && !in.failed(); --i) {
        Run run{in.varint(), in.varint()};
        Json queues = Json::array();
        for (std::uint64_t target = in.count(); target > 0 && !in.failed(); --target) {
            queues.push_back(in.varint() >> 1);
        }
        list.push_back({{"messages", run.messages}, {"bytes", run.bytes}, {"queues", queues}});
        runs.push_back(run);
    }
    if (acks) {
        out["groups"] = ack_groups_json(in);
        Json& rejects = out["rejects"] = Json::array();
        for (std::uint64_t g = in.count(); g > 0 && !in.failed(); --g) {
            Json group{{"queue", in.varint()}};
            Json& leaving = group["leaving"] = Json::array();
            std::uint64_t end = 0;
            for (std::uint64_t i = in.count(); i > 0 && !in.failed(); --i) {
                const std::uint64_t attempts = in.varint();
                Json extent = extent_json(in, end);
                extent["attempts"] = attempts;
                leaving.push_back(std::move(extent));
            }
            rejects.push_back(std::move(group));
        }
        for (std::uint64_t i = in.count(); i > 0 && !in.failed(); --i) {
            const std::uint64_t run = in.varint();
            const std::uint64_t deliver_at = in.varint();
            const std::uint64_t expires_at = in.varint();
            in.varint();  // the hash of an id
            if (run >= list.size()) continue;
            if (deliver_at != 0) list[run]["deliver_at"] = deliver_at;
            if (expires_at != 0) list[run]["expires_at"] = expires_at;
        }
        for (std::uint64_t i = in.count(); i > 0 && !in.failed(); --i) {
            const std::uint64_t run = in.varint();
            const std::uint8_t priority = in.u8();
            if (run < list.size()) list[run]["priority"] = priority;
        }
    }
    if (tail == Tail::submit || tail == Tail::check) {
        out["prepared"] = in.text();
        out["steady_ms"] = in.varint();
    }
    if (tail == Tail::check) out["next_check"] = in.varint();
    if (tail == Tail::schedule) {
        out["schedule"] = in.text();
        out["due_ms"] = in.varint();
        out["next_ms"] = in.varint();
    }
    Json messages = Json::array();
    for (const Run& run : runs) {
        read_messages(in, run.bytes, run.messages, position, messages, whole);
        position += run.messages;
    }
    if (whole) out["messages"] = std::move(messages);
    return out;
}

Json slice_json(ByteReader& in, std::uint64_t position, bool whole) {
    Json out{{"wall_ms", in.u64()}};
    struct Part {
        std::uint64_t first = 0;
        Run run;
    };
    std::vector<Part> parts;
    Json& list = out["parts"] = Json::array();
    for (std::uint64_t i = in.count(); i > 0 && !in.failed(); --i) {
        Part part;
        part.first = in.varint();
        part.run = {in.varint(), in.varint()};
        list.push_back(
            {{"first", part.first}, {"messages", part.run.messages}, {"bytes", part.run.bytes}});
        parts.push_back(part);
    }
    Json messages = Json::array();
    for (const Part& part : parts) {
        read_messages(in, part.run.bytes, part.run.messages, position + part.first, messages,
                      whole);
    }
    if (whole) out["messages"] = std::move(messages);
    return out;
}

Json ack_groups_json(ByteReader& in) {
    Json groups = Json::array();
    for (std::uint64_t i = in.count(); i > 0 && !in.failed(); --i) {
        const std::uint64_t named = in.varint();
        Json group{{"queue", named & 0xffffff}, {"level", named >> 24}};
        Json& spans = group["spans"] = Json::array();
        std::uint64_t end = 0;
        for (std::uint64_t span = in.count(); span > 0 && !in.failed(); --span) {
            const std::uint64_t first = end + static_cast<std::uint64_t>(in.zigzag());
            const std::uint64_t count = in.varint();
            spans.push_back({{"first", first}, {"count", count}});
            end = first + count;
        }
        groups.push_back(std::move(group));
    }
    return groups;
}

Json ack_json(ByteReader& in) {
    return {{"groups", ack_groups_json(in)}};
}

Json extent_json(ByteReader& in, std::uint64_t& end) {
    const std::uint64_t first = end + static_cast<std::uint64_t>(in.zigzag());
    const std::uint64_t messages = in.varint();
    Json out{{"first", first}, {"messages", messages}};
    const std::uint64_t index = in.varint();
    out["level"] = index >> 18;
    out["index"] = (index & 0x3ffff) >> 2;
    out["exact"] = (index & 1) != 0;
    if ((index & 2) != 0) out["key"] = in.varint();
    out["offset"] = in.varint();
    out["bytes"] = in.varint();
    end = first + messages;
    return out;
}

Json extents_json(ByteReader& in) {
    Json list = Json::array();
    std::uint64_t end = 0;
    for (std::uint64_t i = in.count(); i > 0 && !in.failed(); --i)
        list.push_back(extent_json(in, end));
    return list;
}

Json queue_and_extents(ByteReader& in, const char* name) {
    Json out{{"queue", in.varint()}};
    out[name] = extents_json(in);
    return out;
}

Json delayed_json(ByteReader& in) {
    Json out{{"queue", in.varint()}};
    out["steady_ms"] = in.varint();
    out["wall_ms"] = in.varint();
    Json& list = out["delayed"] = Json::array();
    std::uint64_t end = 0;
    for (std::uint64_t i = in.count(); i > 0 && !in.failed(); --i) {
        const std::uint64_t delay = in.varint();
        Json extent = extent_json(in, end);
        extent["delay_ms"] = delay;
        list.push_back(std::move(extent));
    }
    return out;
}

Json due_json(ByteReader& in) {
    Json out{{"queue", in.varint()}};
    out["list"] = in.u8() == 0 ? "retries" : "scheduled";
    out["due"] = in.varint();
    out["position"] = in.varint();
    return out;
}

Json leave_json(ByteReader& in, bool& known) {
    constexpr std::array reasons{"",        "rejected",     "max_deliveries",
                                 "expired", "length_limit", "moved"};
    Json out{{"queue", in.varint()}};
    const std::uint8_t reason = in.u8();
    known = reason > 0 && reason < reasons.size();
    if (!known) return out;
    out["reason"] = reasons[reason];
    out["wall_ms"] = in.varint();
    out["target"] = in.text();
    Json& list = out["leaving"] = Json::array();
    std::uint64_t end = 0;
    for (std::uint64_t i = in.count(); i > 0 && !in.failed(); --i) {
        const std::uint64_t attempts = in.varint();
        Json extent = extent_json(in, end);
        extent["attempts"] = attempts;
        list.push_back(std::move(extent));
    }
    return out;
}

Json policy_json(ByteReader& in, bool& known) {
    constexpr std::array names{"",
                               "retry",
                               "retry_delay_ms",
                               "retry_delay_max_ms",
                               "retry_jitter_percent",
                               "max_deliveries",
                               "dead_letter_exchange",
                               "dead_letter_key",
                               "message_ttl_ms",
                               "expires_ms",
                               "max_length",
                               "max_bytes",
                               "overflow",
                               "priorities",
                               "dedupe_window_ms",
                               "dedupe_max_ids"};
    Json out = Json::object();
    for (std::uint64_t i = in.count(); i > 0 && !in.failed() && known; --i) {
        const std::uint8_t key = in.u8();
        known = key > 0 && key < names.size();
        if (!known) break;
        const bool text = key == 6 || key == 7;
        out[names[key]] = text ? Json(in.text()) : Json(in.varint());
    }
    return out;
}

Json queue_declare_json(ByteReader& in, bool& known) {
    Json out{{"queue", in.varint()}, {"name", in.text()}};
    const std::uint8_t flags = in.u8();
    out["durable"] = (flags & 1U) != 0;
    out["exclusive"] = (flags & 2U) != 0;
    out["auto_delete"] = (flags & 4U) != 0;
    if ((flags & 32U) != 0) out["ordered"] = true;
    if ((flags & 64U) != 0) out["single_active"] = true;
    out["lease_ms"] = in.varint();
    if ((flags & 8U) != 0) out["policy"] = policy_json(in, known);
    return out;
}

Json exchange_declare_json(ByteReader& in) {
    constexpr std::array types{"direct", "topic", "fanout", "headers", "consistent-hash"};
    Json out{{"name", in.text()}};
    const std::uint8_t type = in.u8();
    const std::uint8_t flags = in.u8();
    out["exchange_type"] = type < types.size() ? Json(types[type]) : Json(type);
    out["auto_delete"] = (flags & 1U) != 0;
    out["internal"] = (flags & 2U) != 0;
    out["durable"] = (flags & 4U) != 0;
    if (type != 4) return out;
    constexpr std::array hashed{"routing_key", "ordering_key", "header"};
    const std::uint8_t on = in.u8();
    out["hash"] = on < hashed.size() ? Json(hashed[on]) : Json(on);
    out["hash_header"] = in.text();
    return out;
}

Json argument_value(ByteReader& in, bool& known) {
    const std::uint8_t kind = in.u8();
    switch (kind) {
        case 0:
            return nullptr;
        case 1:
            return in.u8() != 0;
        case 2:
            return static_cast<std::int64_t>(in.u64());
        case 3:
            return std::bit_cast<double>(in.u64());
        case 4:
            return in.text();
        default:
            known = false;
            return nullptr;
    }
}

Json bind_json(ByteReader& in, bool& known) {
    Json out{{"source", in.text()}, {"destination", in.text()}};
    out["kind"] = in.u8() == 1 ? "exchange" : "queue";
    out["key"] = in.text();
    Json& arguments = out["arguments"] = Json::object();
    for (std::uint64_t i = in.count(); i > 0 && !in.failed() && known; --i) {
        const std::string name = in.text();
        arguments[name] = argument_value(in, known);
    }
    return out;
}

Json producer_json(ByteReader& in) {
    Json out{{"producer", in.varint()}, {"name", in.text()}, {"epoch", in.varint()}};
    out["temporary"] = in.u8() == 1;
    return out;
}

Json producer_open_json(ByteReader& in) {
    Json out{{"producer", in.varint()}};
    Json& ranges = out["open"] = Json::array();
    for (std::uint64_t i = in.count(); i > 0 && !in.failed(); --i) {
        const std::uint64_t first = in.varint();
        ranges.push_back({{"first", first}, {"last", first + in.varint()}});
    }
    return out;
}

Json policy_set_json(ByteReader& in, bool& known) {
    Json out{{"name", in.text()}, {"pattern", in.text()}};
    out["priority"] = in.varint();
    out["from_file"] = in.u8() != 0;
    out["settings"] = policy_json(in, known);
    return out;
}

// What a schedule or a prepared message keeps has no position of its own.
void put_kept_message(ByteReader& in, bool whole, Json& out) {
    const std::uint64_t bytes = in.count();
    Json messages = Json::array();
    read_messages(in, bytes, 1, 0, messages, whole);
    if (whole && messages.size() == 1) {
        messages[0].erase("position");
        out["message"] = messages[0];
    }
}

Json schedule_set_json(ByteReader& in, bool whole, bool& known) {
    Json out{{"name", in.text()}, {"cron", in.text()}, {"zone", in.text()}};
    const std::uint8_t flags = in.u8();
    known = known && flags < 4;
    out["missed"] = (flags & 1U) != 0 ? "skip" : "once";
    out["paused"] = (flags & 2U) != 0;
    for (const char* name : {"next_ms", "last_ms", "fired", "skipped", "reached"})
        out[name] = in.varint();
    put_kept_message(in, whole, out);
    return out;
}

Json schedule_moved_json(ByteReader& in, bool& known) {
    constexpr std::array kinds_of_move{"planned", "skipped", "unroutable"};
    Json out{{"name", in.text()}};
    const std::uint8_t how = in.u8();
    known = how < kinds_of_move.size();
    if (!known) return out;
    out["how"] = kinds_of_move[how];
    out["next_ms"] = in.varint();
    return out;
}

Json prepared_json(ByteReader& in, bool whole) {
    Json out{{"steady_ms", in.varint()}, {"prepared", in.text()}};
    out["producer"] = in.text();
    out["check_queue"] = in.text();
    for (const char* name : {"check_after_ms", "max_checks", "wall_ms"}) out[name] = in.varint();
    put_kept_message(in, whole, out);
    return out;
}

Json prepared_change_json(ByteReader& in) {
    Json out{{"prepared", in.text()}};
    out["steady_ms"] = in.varint();
    out["wall_ms"] = in.varint();
    return out;
}

struct Kind {
    const char* name;
    Json (*read)(ByteReader& in, std::uint64_t position, bool whole, bool& known);
};

// Lambdas bring the readers, which need different things, to one shape; the index is the type byte.
const std::array<Kind, 24> kinds{{
    {"", nullptr},
    {"publish", [](ByteReader& in, std::uint64_t at, bool w,
                   bool&) { return publish_json(in, at, w, false); }},
    {"ack", [](ByteReader& in, std::uint64_t, bool, bool&) { return ack_json(in); }},
    {"returned",
     [](ByteReader& in, std::uint64_t, bool, bool&) { return queue_and_extents(in, "returned"); }},
    {"queue_declare", [](ByteReader& in, std::uint64_t, bool,
                         bool& known) { return queue_declare_json(in, known); }},
    {"queue_delete",
     [](ByteReader& in, std::uint64_t, bool, bool&) {
         return Json{{"queue", in.varint()}};
     }},
    {"exchange_declare",
     [](ByteReader& in, std::uint64_t, bool, bool&) { return exchange_declare_json(in); }},
    {"exchange_delete",
     [](ByteReader& in, std::uint64_t, bool, bool&) {
         return Json{{"name", in.text()}};
     }},
    {"bind", [](ByteReader& in, std::uint64_t, bool, bool& known) { return bind_json(in, known); }},
    {"unbind",
     [](ByteReader& in, std::uint64_t, bool, bool& known) { return bind_json(in, known); }},
    {"producer", [](ByteReader& in, std::uint64_t, bool, bool&) { return producer_json(in); }},
    {"producer_open",
     [](ByteReader& in, std::uint64_t, bool, bool&) { return producer_open_json(in); }},
    {"purge",
     [](ByteReader& in, std::uint64_t, bool, bool&) { return queue_and_extents(in, "stays"); }},
    {"horizon",
     [](ByteReader& in, std::uint64_t, bool, bool&) {
         Json out{{"queue", in.varint()}};
         out["horizon"] = in.varint();
         return out;
     }},
    {"index_block",
     [](ByteReader& in, std::uint64_t, bool, bool&) { return queue_and_extents(in, "waiting"); }},
    {"producer_forget",
     [](ByteReader& in, std::uint64_t, bool, bool&) {
         return Json{{"producer", in.varint()}};
     }},
    {"slice",
     [](ByteReader& in, std::uint64_t at, bool w, bool&) { return slice_json(in, at, w); }},
    {"transaction",
     [](ByteReader& in, std::uint64_t at, bool w, bool&) { return publish_json(in, at, w, true); }},
    {"delayed", [](ByteReader& in, std::uint64_t, bool, bool&) { return delayed_json(in); }},
    {"due", [](ByteReader& in, std::uint64_t, bool, bool&) { return due_json(in); }},
    {"leave",
     [](ByteReader& in, std::uint64_t, bool, bool& known) { return leave_json(in, known); }},
    {"clock",
     [](ByteReader& in, std::uint64_t, bool, bool&) {
         Json out{{"steady_ms", in.varint()}};
         out["wall_ms"] = in.varint();
         return out;
     }},
    {"restart",
     [](ByteReader& in, std::uint64_t, bool, bool&) {
         return Json{{"unclean", in.u8() != 0}};
     }},
    {"cancel",
     [](ByteReader& in, std::uint64_t, bool, bool&) {
         Json out{{"queue", in.varint()}};
         out["due"] = in.varint();
         out["position"] = in.varint();
         return out;
     }},
}};

// The same from this type on.
constexpr std::uint8_t second_kinds_from = 40;
const std::array<Kind, 6> second_kinds{{
    {"policy_set",
     [](ByteReader& in, std::uint64_t, bool, bool& known) { return policy_set_json(in, known); }},
    {"policy_delete",
     [](ByteReader& in, std::uint64_t, bool, bool&) {
         return Json{{"name", in.text()}};
     }},
    {"schedule_set", [](ByteReader& in, std::uint64_t, bool w,
                        bool& known) { return schedule_set_json(in, w, known); }},
    {"schedule_delete",
     [](ByteReader& in, std::uint64_t, bool, bool&) {
         return Json{{"name", in.text()}};
     }},
    {"schedule_moved", [](ByteReader& in, std::uint64_t, bool,
                          bool& known) { return schedule_moved_json(in, known); }},
    {"schedule_fired", [](ByteReader& in, std::uint64_t at, bool w,
                          bool&) { return publish_json(in, at, w, true, Tail::schedule); }},
}};

constexpr std::uint8_t third_kinds_from = 50;
const std::array<Kind, 6> third_kinds{{
    {"prepared", [](ByteReader& in, std::uint64_t, bool w, bool&) { return prepared_json(in, w); }},
    {"prepared_submit", [](ByteReader& in, std::uint64_t at, bool w,
                           bool&) { return publish_json(in, at, w, true, Tail::submit); }},
    {"prepared_drop",
     [](ByteReader& in, std::uint64_t, bool, bool&) { return prepared_change_json(in); }},
    {"prepared_check", [](ByteReader& in, std::uint64_t at, bool w,
                          bool&) { return publish_json(in, at, w, true, Tail::check); }},
    {"prepared_park",
     [](ByteReader& in, std::uint64_t, bool, bool&) {
         return Json{{"prepared", in.text()}};
     }},
    {"prepared_resume",
     [](ByteReader& in, std::uint64_t, bool, bool&) { return prepared_change_json(in); }},
}};

Json lock_party_json(ByteReader& in) {
    Json out{{"lock", in.text()}};
    out["holder"] = in.text();
    out["ttl_ms"] = in.varint();
    out["delay_ms"] = in.varint();
    out["permits"] = in.varint();
    return out;
}

Json lock_end_json(ByteReader& in, bool& known) {
    static constexpr const char* names[] = {"released", "lost", "forced"};
    Json out{{"lock", in.text()}};
    out["holder"] = in.text();
    out["token"] = in.varint();
    const std::uint8_t how = in.u8();
    if (how < std::size(names)) {
        out["how"] = names[how];
    } else {
        known = false;
    }
    return out;
}

constexpr std::uint8_t fourth_kinds_from = 60;
const std::array<Kind, 5> fourth_kinds{{
    {"lock_wait", [](ByteReader& in, std::uint64_t, bool, bool&) { return lock_party_json(in); }},
    {"lock_grant",
     [](ByteReader& in, std::uint64_t at, bool, bool&) {
         Json out = lock_party_json(in);
         out["token"] = at;
         return out;
     }},
    {"lock_end",
     [](ByteReader& in, std::uint64_t, bool, bool& known) { return lock_end_json(in, known); }},
    {"lock_leave",
     [](ByteReader& in, std::uint64_t, bool, bool&) {
         Json out{{"lock", in.text()}};
         out["holder"] = in.text();
         return out;
     }},
    {"lock_open",
     [](ByteReader& in, std::uint64_t, bool, bool&) {
         Json out{{"lock", in.text()}};
         out["token"] = in.varint();
         return out;
     }},
}};

const Kind* kind_of(std::uint8_t type) {
    if (type > 0 && type < kinds.size()) return &kinds[type];
    const std::size_t fourth = std::size_t{type} - fourth_kinds_from;
    if (type >= fourth_kinds_from)
        return fourth < fourth_kinds.size() ? &fourth_kinds[fourth] : nullptr;
    const std::size_t third = std::size_t{type} - third_kinds_from;
    if (type >= third_kinds_from) return third < third_kinds.size() ? &third_kinds[third] : nullptr;
    const std::size_t second = std::size_t{type} - second_kinds_from;
    return type >= second_kinds_from && second < second_kinds.size() ? &second_kinds[second]
                                                                     : nullptr;
}

}  // namespace

Json body_json(std::uint64_t position, std::span<const std::byte> body, bool whole) {
    ByteReader in(body);
    const std::uint8_t type = in.u8();
    const Kind* kind = kind_of(type);
    bool known = kind != nullptr;
    Json out{{"type", known ? Json(kind->name) : Json(type)}};
    if (known) out.update(kind->read(in, position, whole, known));
    if (!known || in.failed() || !in.at_end()) {
        out["unreadable"] = true;
        out["hex"] = hex(whole ? body : body.first(std::min<std::size_t>(body.size(), 32)));
    }
    return out;
}

}  // namespace ferry::log_reader
