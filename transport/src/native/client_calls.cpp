#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

#include "ferry/transport/client.hpp"
#include "native/ask.hpp"

// Calls and replies. What waits for its reply is in calls.cpp.
namespace ferry::transport {

Answer<Message> Client::call(const Message& request, const CallOptions& options) {
    if (core_->on_io_thread()) {
        return ClientError{Errc::rejected, wire::Code::ok,
                           "this call waits, which a callback of the client must not"};
    }
    struct Waiter {
        std::mutex mutex;
        std::condition_variable changed;
        std::optional<Answer<Message>> reply;
    };
    auto waiter = std::make_shared<Waiter>();
    const Status begun = call_async(
        request,
        [waiter](const Answer<Message>& reply) {
            const std::lock_guard guard(waiter->mutex);
            waiter->reply.emplace(reply);
            waiter->changed.notify_all();
        },
        options);
    if (!begun.ok())
        return ClientError{begun.error().code, wire::Code::ok, std::string(begun.error().what)};
    std::unique_lock guard(waiter->mutex);
    waiter->changed.wait(guard, [&] { return waiter->reply.has_value(); });
    return std::move(*waiter->reply);
}

Status Client::call_async(const Message& request, CallCallback done, const CallOptions& options) {
    if (!core_->options().publisher)
        return Error{Errc::rejected, 0, 0, "this client was opened without a producer"};
    return core_->calls().begin(request, options, std::move(done));
}

std::future<Answer<Message>> Client::call_future(const Message& request,
                                                 const CallOptions& options) {
    auto promise = std::make_shared<std::promise<Answer<Message>>>();
    auto future = promise->get_future();
    const Status begun = call_async(
        request, [promise](const Answer<Message>& reply) { promise->set_value(reply); }, options);
    if (!begun.ok()) {
        promise->set_value(
            ClientError{begun.error().code, wire::Code::ok, std::string(begun.error().what)});
    }
    return future;
}

CallStats Client::call_stats() const {
    return core_->calls().stats();
}

Status Client::reply(const Delivery& request, const Message& reply) {
    wire::Properties asked;
    if (!wire::read_properties(request.message.properties, asked) || asked.reply_to.empty())
        return Error{Errc::rejected, 0, 0, "the message wants no reply: it has no reply_to"};
    const auto subscription = core_->find_subscription(request.tag.subscription);
    if (subscription == nullptr) return Error{Errc::not_found, 0, 0, "the subscription has ended"};
    Message sent = reply;
    sent.exchange.clear();
    sent.routing_key = asked.reply_to;
    sent.properties.correlation_id = asked.correlation_id;
    if (!wire::check_message(sent).empty())
        return Error{Errc::rejected, 0, 0, "the reply, or a property of it, is over a limit"};
    auto frame = native::make_request(wire::Verb::reply, 4, false);
    const bool acks = !subscription->options.no_ack;
    wire::Encoder out(frame->fields);
    out.str(asked.reply_to).uint(acks ? request.tag.subscription : 0);
    out.array(acks ? 2 : 0);
    if (acks) out.uint(request.tag.tag).uint(request.tag.tag);
    wire::write_message(out, sent);
    frame->generation = request.tag.generation;
    frame->quiet = true;
    core_->post(std::move(frame));
    return ok_status();
}

}  // namespace ferry::transport
