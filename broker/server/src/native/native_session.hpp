#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../hub.hpp"
#include "../protocol_session.hpp"
#include "../registry.hpp"
#include "deliveries.hpp"
#include "ferry/wire/frame.hpp"
#include "ferry/wire/message.hpp"

namespace ferry::server::native {

class Peek;
class SignIn;

/// One connection that speaks docs/protocol.md.
///
///   greeting --hello--> serving --goodbye--> leaving --all answered--> over
///       |                  |                                            ^
///       +------------------+----- malformed, silent, drained, … -------+
///
/// Threads   The loop's. Lifetime: `hub` and `link` outlive it.
class NativeSession final : public ProtocolSession {
public:
    NativeSession(Hub& hub, Link& link, engine::SessionId id);
    ~NativeSession() override;

    std::size_t consume(Bytes bytes) override;
    [[nodiscard]] std::size_t wanted() const override { return wanted_; }
    void carry_out(engine::Effect& effect) override;
    void on_writable() override;
    void on_tick(Now now) override;
    void drain() override;
    void abandon() override;
    void on_closed() override;
    void on_users_changed() override;
    void on_blocked() override;
    void for_each_pinned(const std::function<void(engine::Position)>& pinned) const override;

    /// What the client called itself in hello.
    [[nodiscard]] const std::string& client_name() const { return client_name_; }
    [[nodiscard]] Deliveries& deliveries() { return deliveries_; }
    /// A body that something here waited for was read, or cannot be.
    void on_body();
    void forget_in_peeks(engine::Position record);
    /// A reply to a call of this connection.
    bool take_reply(Bytes message);
    /// Something has changed about an instance of a service that this connection watches.
    void on_service(const ServiceKey& key) override;
    /// A password that came in the clear was compared, on another thread.
    void password_compared(bool fits);

private:
    enum class Phase : std::uint8_t { greeting, serving, leaving, over };

    struct Request {
        wire::Cursor& fields;
        std::uint64_t id = 0;
        std::uint32_t count = 0;  // of fields, with verb and id
        Bytes frame;
    };

    // Each takes a request's fields; false: they are not what the verb demands.
    bool take(wire::Verb verb, Request& request);
    bool take_consuming(wire::Verb verb, Request& request);
    bool take_topology(wire::Verb verb, Request& request);
    bool take_policy(wire::Verb verb, Request& request);
    bool take_schedule(wire::Verb verb, Request& request);
    bool take_prepared(wire::Verb verb, Request& request);
    bool take_lock(wire::Verb verb, Request& request);
    bool take_query(wire::Verb verb, Request& request);
    bool hello(Request& request);
    bool auth_response(Request& request);
    bool goodbye(Request& request);
    bool publish(Request& request);
    bool transaction(Request& request);
    bool transactions(Request& request);
    void await_confirm(std::uint64_t producer, std::uint64_t first, std::uint32_t sequences,
                       std::uint32_t messages, Now now);
    bool producer(Request& request);
    bool hold(Request& request);
    bool subscribe(Request& request);
    bool pull(Request& request);
    bool ack(Request& request);
    bool nack(Request& request);
    bool extend(Request& request);
    bool credit(Request& request);
    bool unsubscribe(Request& request);
    bool queue_declare(Request& request);
    bool queue_delete(Request& request);
    bool queue_purge(Request& request);
    bool queue_move(Request& request);
    bool queue_drop(Request& request);
    bool queue_list(Request& request);
    bool queue_show(Request& request);
    bool consumer_list(Request& request);
    bool queue_peek(Request& request);
    bool exchange_declare(Request& request);
    bool exchange_delete(Request& request);
    bool exchange_list(Request& request);
    bool exchange_show(Request& request);
    bool bind(Request& request, bool unbind);
    bool policy_set(Request& request);
    bool policy_delete(Request& request);
    bool policy_list(Request& request);
    bool why(Request& request);
    bool schedule_set(Request& request);
    bool schedule_delete(Request& request);
    bool schedule_list(Request& request);
    bool schedule_show(Request& request);
    bool schedule_pause(Request& request);
    bool schedule_next(Request& request);
    bool prepare(Request& request);
    bool prepared_decide(Request& request);
    bool prepared_list(Request& request);
    bool prepared_show(Request& request);
    bool reply(Request& request);
    bool service(Request& request);
    bool service_list(Request& request);
    bool lock(Request& request);
    bool unlock(Request& request);
    bool lock_renew(Request& request);
    bool lock_list(Request& request);
    bool lock_show(Request& request);
    bool stats(Request& request);
    bool backup(Request& request);

    /// A connection's interest in a service; "": in all.
    struct Watch {
        std::string service;
        bool behind = false;  // changes were not told: a snapshot comes when there is room
    };
    void tell_snapshot(std::uint64_t id, Watch& watch);
    void catch_up();
    void leave_registry(bool clean);

    void on_frame(Bytes body);
    void published(std::uint64_t messages, std::size_t bytes);
    void tell_blocked();
    [[nodiscard]] bool over_rate(std::uint64_t messages);
    // Signing in (sign_in.cpp): from hello to greet() or to a refusal that is held back.
    void sign_in(std::uint64_t request, std::string_view mechanism, std::string_view initial);
    void sign_in_scram(std::string_view initial, bool plus);
    void sign_in_plain(std::string_view initial);
    void sign_in_external();
    void signed_in(std::string_view user, std::string_view proof);
    void sign_in_failed(std::string_view user, std::string_view why);
    [[nodiscard]] std::string address() const;
    void greet(std::uint64_t request, std::string_view proof);

    // Permissions (permissions.cpp).
    /// False: the request was refused.
    bool let_through(wire::Verb verb, const Request& request);
    bool may(const Request& request, engine::Right right, std::string_view name);
    bool may_publish(const Request& request, const wire::MessageView& message);
    bool may_decide(const Request& request, std::string_view prepared_id);
    void deny(const Request& request, engine::Right right, std::string_view name);
    void note_denied(std::string_view object, std::string_view text);
    void audit_operation(wire::Verb verb, std::string_view name);
    void leave_account();
    bool refuse(const Request& request, wire::Code code, std::string_view text);
    /// An error with request id 0 (or the one at fault), then the end.
    void fail(std::uint64_t request, wire::Code code, std::string_view text);
    void end();
    /// The engine will answer: until then the session is not done.
    void await_answer(std::uint64_t request);
    void answered(std::uint64_t request);
    void leave_when_done();
    void confirmed(std::uint64_t producer, const engine::Range<engine::Sequence>& sequences,
                   bool stored);
    void on_reply(engine::Reply& reply);
    void name_clients(engine::WhyAnswer& answer);
    void on_damaged(std::uint64_t subscription, const Error& error);
    void backed_up(std::uint64_t request, const Result<log::CommitLog::BackupResult>& result);

    Hub& hub_;
    Link& link_;
    const engine::SessionId id_;
    std::string client_name_;
    std::unique_ptr<SignIn> sign_in_;               // under way
    std::shared_ptr<const engine::Rights> rights_;  // null: everything
    Gate::Account* account_ = nullptr;              // of the user who signed in
    Instant denied_noted_;
    Phase phase_ = Phase::greeting;
    bool draining_ = false;
    bool engine_knows_ = false;
    std::uint32_t own_requests_ = 0;  // asked of the engine by the session itself
    std::uint32_t unanswered_ = 0;    // requests that the engine or the log will answer
    bool tells_activations_ = false;
    bool tells_blocked_ = false;  // it wants to know that publishers wait
    bool publishes_ = false;
    Blocked told_blocked_ = Blocked::no;
    std::uint64_t blocked_bytes_ = 0;       // published since memory is short
    std::uint64_t unconfirmed_ = 0;         // messages
    std::optional<std::uint64_t> goodbye_;  // request id
    std::size_t wanted_ = 4;

    std::uint64_t heartbeat_ns_ = 0;
    Instant opened_;
    Instant heard_;  // when bytes came last
    Instant partial_since_;
    std::uint64_t partial_bytes_ = 0;

    // One publish at a time is timed from arrival to confirm.
    std::uint64_t timed_producer_ = 0;
    engine::Sequence timed_last_ = 0;  // 0: none
    Instant timed_from_;
    std::uint32_t timed_count_ = 0;

    Deliveries deliveries_;
    std::vector<std::unique_ptr<Peek>> peeks_;
    std::map<std::uint64_t, Watch> watches_;  // by the request that began it
};

}  // namespace ferry::server::native
