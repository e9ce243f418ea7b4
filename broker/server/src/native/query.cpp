// Looking at the broker.

#include <algorithm>

#include "ferry/wire/limits.hpp"
#include "fields.hpp"
#include "frames.hpp"
#include "list_page.hpp"
#include "native_session.hpp"
#include "peek.hpp"

#ifndef FERRY_VERSION
#define FERRY_VERSION "0"
#endif

namespace ferry::server::native {

using wire::Code;

namespace {

std::optional<engine::Where> where_named(std::string_view name) {
    if (name == "ready") return engine::Where::ready;
    if (name == "unacked") return engine::Where::unacked;
    if (name == "delayed") return engine::Where::delayed;
    if (name == "leaving") return engine::Where::leaving;
    return std::nullopt;
}

}  // namespace

bool NativeSession::queue_list(Request& request) {
    const auto list = read_list_request(request.fields, request.count);
    if (!list) return false;
    write_page(link_.out(), request.id, "queues",
               hub_.engine.queues(list->after, list->wanted(), hub_.now()), list->most,
               hub_.config.frame_bytes_max,
               [](wire::Encoder& out, const engine::QueueView& queue) { write_queue(out, queue); });
    link_.sent();
    return true;
}

bool NativeSession::exchange_list(Request& request) {
    const auto list = read_list_request(request.fields, request.count);
    if (!list) return false;
    write_page(link_.out(), request.id, "exchanges",
               hub_.engine.exchanges(list->after, list->wanted()), list->most,
               hub_.config.frame_bytes_max,
               [](wire::Encoder& out, const engine::ExchangeView& exchange) {
                   write_exchange(out, exchange, nullptr);
               });
    link_.sent();
    return true;
}

bool NativeSession::queue_show(Request& request) {
    std::string_view name;
    if (request.count < 3 || !request.fields.read_str(name)) return false;
    hub_.engine.show_queue(id_, request.id, name, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::consumer_list(Request& request) {
    std::string_view queue;
    std::string_view after_queue;
    std::uint64_t skip = 0;
    std::uint64_t at_most = 0;
    wire::Cursor& fields = request.fields;
    if (request.count < 6 || !fields.read_str(queue) || !fields.read_str(after_queue) ||
        !fields.read_uint(skip) || !fields.read_uint(at_most)) {
        return false;
    }
    if (!queue.empty() && !hub_.engine.queue(queue, hub_.now()))
        return refuse(request, Code::no_such_queue, {});
    const auto most =
        static_cast<std::size_t>(std::clamp<std::uint64_t>(at_most, 1, limits::list_page_max));
    const engine::ConsumerPlace after{after_queue, static_cast<std::size_t>(skip)};
    write_page(link_.out(), request.id, "consumers",
               hub_.engine.consumers(queue, after, most + 1, hub_.now()), most,
               hub_.config.frame_bytes_max,
               [this](wire::Encoder& out, const engine::ConsumerView& consumer) {
                   const auto* found =
                       dynamic_cast<const NativeSession*>(hub_.session(consumer.session));
                   write_consumer(out, consumer, found == nullptr ? "" : found->client_name());
               });
    link_.sent();
    return true;
}

bool NativeSession::exchange_show(Request& request) {
    std::string_view name;
    if (request.count < 3 || !request.fields.read_str(name)) return false;
    const std::optional<engine::ExchangeView> exchange = hub_.engine.exchange(name);
    if (!exchange) return refuse(request, Code::no_such_exchange, {});
    const std::vector<engine::Binding> bindings = hub_.engine.bindings_of(name);
    wire::Buffer shown;
    wire::Encoder row(shown);
    write_exchange(row, *exchange, &bindings);
    if (shown.size() + page_reserve_bytes > hub_.config.frame_bytes_max) {
        return refuse(request, Code::limit_reached, "its bindings do not fit into one frame");
    }
    const std::size_t mark = wire::begin_frame(link_.out(), wire::Verb::ok, 3);
    wire::Encoder(link_.out()).uint(request.id).raw(shown);
    wire::end_frame(link_.out(), mark);
    link_.sent();
    return true;
}

bool NativeSession::why(Request& request) {
    std::string_view name;
    std::string_view message_id;
    std::uint64_t position = 0;
    const Option known[] = {{.name = "position", .number = &position, .least = 1},
                            {.name = "id", .text = &message_id}};
    std::string complaint;
    if (request.count < 4 || !request.fields.read_str(name) ||
        !read_options(request.fields, known, complaint)) {
        return false;
    }
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    hub_.engine.why(id_, request.id, name, position, message_id, hub_.now());
    await_answer(request.id);
    return true;
}

// The engine knows sessions by number; people know clients by the names that these gave themselves.
void NativeSession::name_clients(engine::WhyAnswer& answer) {
    for (engine::Fact& fact : answer.facts) {
        for (std::size_t i = 0; i < fact.details.size(); ++i) {
            constexpr std::string_view session = "session";
            const std::string& name = fact.details[i].first;
            const auto* number = std::get_if<std::int64_t>(&fact.details[i].second);
            if (!name.ends_with(session) || number == nullptr) continue;
            const auto* found = dynamic_cast<const NativeSession*>(
                hub_.session(static_cast<engine::SessionId>(*number)));
            if (found == nullptr || found->client_name().empty()) continue;
            // session: client; to_session: to_client
            std::string client = name.substr(0, name.size() - session.size()) + "client";
            fact.details.emplace(fact.details.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                 std::move(client), found->client_name());
        }
    }
}

bool NativeSession::queue_peek(Request& request) {
    std::string_view name;
    std::string_view place = "ready";
    std::uint64_t skip = 0;
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    wire::Cursor& fields = request.fields;
    if (request.count < 6 || !fields.read_str(name) || !fields.read_uint(skip) ||
        !fields.read_uint(messages) || !fields.read_uint(bytes)) {
        return false;
    }
    // Optional, as earlier clients do not send it.
    if (request.count > 6 && !fields.read_str(place)) return false;
    const std::optional<engine::Where> where = where_named(place);
    if (!where) {
        return refuse(request, Code::bad_option, "look at ready, unacked, delayed or leaving");
    }
    if (!hub_.engine.queue(name, hub_.now())) return refuse(request, Code::no_such_queue, {});
    constexpr std::size_t peeks_max = 16;
    if (peeks_.size() >= peeks_max) {
        return refuse(request, Code::limit_reached, "a connection peeks 16 times at once at most");
    }
    const auto most =
        static_cast<std::size_t>(std::clamp<std::uint64_t>(messages, 1, limits::peek_messages_max));
    auto peek = std::make_unique<Peek>(hub_, link_, id_, request.id,
                                       hub_.engine.peek(name, skip, most, *where), most, bytes);
    if (!peek->go_on()) peeks_.push_back(std::move(peek));
    return true;
}

bool NativeSession::stats(Request& request) {
    const engine::Totals totals = hub_.engine.totals();
    const log::Stats log_stats = hub_.log.stats();
    const std::size_t mark = begin_ok(link_.out(), request.id, 19);
    wire::Encoder out(link_.out());
    out.str("version").str(FERRY_VERSION).str("log_id").uint(hub_.log.recovered().log_id);
    out.str("uptime_ms").uint((hub_.now().mono.ns - hub_.figures.started.ns) / 1'000'000);
    out.str("connections").uint(hub_.connections()).str("queues").uint(totals.queues);
    out.str("exchanges").uint(totals.exchanges).str("published").uint(totals.published);
    out.str("confirmed").uint(totals.confirmed).str("delivered").uint(totals.delivered);
    out.str("acked").uint(totals.acked).str("refused").uint(totals.refused);
    out.str("ready").uint(totals.ready).str("unacked").uint(totals.unacked);
    out.str("log_end").uint(hub_.log.end()).str("log_durable").uint(hub_.log.durable());
    out.str("log_file_bytes").uint(log_stats.file_bytes);
    out.str("log_live_bytes").uint(totals.live_bytes).str("syncs").uint(log_stats.syncs);
    out.str("publish_blocked").uint(hub_.figures.publishers_blocked);
    wire::end_frame(link_.out(), mark);
    link_.sent();
    return true;
}

bool NativeSession::backup(Request& request) {
    std::string_view target;
    if (request.count < 3 || !request.fields.read_str(target)) return false;
    if (target.empty() || target.size() > 4096 || target.find('\0') != std::string_view::npos) {
        return refuse(request, Code::bad_option, "name a directory on the broker's machine");
    }
    await_answer(request.id);
    Hub& hub = hub_;
    const engine::SessionId session = id_;
    const std::uint64_t id = request.id;
    hub_.backup(std::string(target),
                [&hub, session, id](Result<log::CommitLog::BackupResult> result) {
                    auto* found = dynamic_cast<NativeSession*>(hub.session(session));
                    if (found != nullptr) found->backed_up(id, result);
                });
    return true;
}

void NativeSession::backed_up(std::uint64_t request,
                              const Result<log::CommitLog::BackupResult>& result) {
    if (phase_ == Phase::over) return;
    if (result.ok()) {
        const std::size_t mark = begin_ok(link_.out(), request, 3);
        wire::Encoder out(link_.out());
        out.str("upto").uint(result.value().upto).str("bytes").uint(result.value().bytes);
        out.str("files").uint(result.value().files);
        wire::end_frame(link_.out(), mark);
    } else {
        const Error& error = result.error();
        Code code = Code::bad_option;
        if (error.code == Errc::corrupt) code = Code::damaged;
        if (error.code == Errc::io_failed) code = Code::storage_failed;
        if (error.code == Errc::out_of_space) code = Code::disk_full;
        write_error(link_.out(), request, code, "the backup failed: " + std::string(error.what));
    }
    link_.sent();
    answered(request);
}

}  // namespace ferry::server::native
