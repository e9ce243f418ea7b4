#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "ferry/outbox/outbox.hpp"

namespace ferry::outbox {

/// Where events go unless something else is said; it must exist at the broker.
inline constexpr std::string_view event_exchange_default = "events";

/// An event to be appended. Views live until the call has returned.
struct NewEvent {
    std::string_view type = {};  // 1 to 255 bytes; becomes the routing key
    Bytes payload = {};
    std::string_view exchange = event_exchange_default;
    std::string_view content_type = {};
    /// Beside ferry-stream and ferry-version, which every event gets.
    std::span<const Header> headers = {};
    std::string_view correlation_id = {};
};

/// An event as it is stored. Views live until the function that was given it returns.
struct Event {
    std::int64_t id = 0;  // grows over all streams, in the order of commits
    std::string_view stream = {};
    std::uint64_t version = 0;  // 1, 2, 3 ... in its stream
    std::string_view type = {};
    Bytes payload = {};
    std::string_view content_type = {};
    std::string_view headers_json = {};  // empty: none
    std::uint64_t created_ms = 0;
    bool sent = false;
};

/// Streams of events in the outbox: an event is a message, so it is published, in order, exactly
/// if it was stored. Events are kept for ever.
///
/// Threads   That of the outbox. Lifetime: the outbox outlives it and stays where it is.
/// Blocking  As SQL statements.
class EventLog {
public:
    /// Errors    Those of preparing statements.
    static sqlite::Answer<EventLog> open(Outbox& outbox);
    EventLog(EventLog&&) noexcept;
    EventLog& operator=(EventLog&&) noexcept;
    ~EventLog();

    /// Appends events in the transaction that is open; all or none. The ordering key is the
    /// stream's name. Returns the stream's new version.
    ///
    /// `expected`: the version that the caller has read, 0 for a stream that must not exist yet;
    /// nothing: whatever it is.
    /// Errors    conflict: the stream is at another version: somebody else was first; roll back,
    ///           read it again and decide again. refused: no transaction, a name or part over its
    ///           limit, no events or more than limits::events_per_append_max. Others: see
    ///           Outbox::enqueue. Nothing was stored.
    sqlite::Answer<std::uint64_t> append(std::string_view stream,
                                         std::optional<std::uint64_t> expected,
                                         std::span<const NewEvent> events);
    sqlite::Answer<std::uint64_t> append(std::string_view stream,
                                         std::optional<std::uint64_t> expected,
                                         const NewEvent& event);

    /// 0: there is no such stream.
    sqlite::Answer<std::uint64_t> version(std::string_view stream);

    /// Called for each event; false: that was enough.
    using Visit = std::function<bool(const Event&)>;
    /// Reads a stream from a version on, in one consistent view. Returns how many were visited.
    /// `visit` may read and write the database, but not append to this stream.
    sqlite::Answer<std::uint64_t> read(std::string_view stream, std::uint64_t from_version,
                                       const Visit& visit);
    /// Reads the events of all streams behind an id, in the order of commits.
    sqlite::Answer<std::uint64_t> read_all(std::int64_t after_id, std::uint64_t at_most,
                                           const Visit& visit);

    /// Rebuilds a state: apply(state, event) for each event of the stream.
    template <class T, class Apply>
    sqlite::Answer<T> fold(std::string_view stream, T state, Apply&& apply) {
        const auto done = read(stream, 1, [&](const Event& event) {
            apply(state, event);
            return true;
        });
        if (!done.ok()) return done.error();
        return state;
    }

    /// Brings a read model in the same database up to date: gives `apply` the events that came
    /// since the last call under this name, at most so many, and notes how far it is, all in one
    /// transaction of its own. So each event takes effect in the model once. Returns how many there
    /// were; fewer than `at_most`: it is up to date.
    ///
    /// Errors    What `apply` returns, refused if a transaction is open, busy. Nothing was changed.
    using Apply = std::function<sqlite::Status(const Event&)>;
    sqlite::Answer<std::uint64_t> project(std::string_view name, std::uint64_t at_most,
                                          const Apply& apply);
    /// Forgets how far a projection is, so that project begins at the first event. Clear the model
    /// in the same transaction.
    sqlite::Status restart_projection(std::string_view name);

private:
    struct Core;
    explicit EventLog(std::unique_ptr<Core> core) noexcept;
    std::unique_ptr<Core> core_;
};

}  // namespace ferry::outbox
