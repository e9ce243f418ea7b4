#include "fake_broker.hpp"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>

namespace ferry::test {
namespace {

constexpr std::uint64_t the_handle = 7;

}  // namespace

FakeBroker::FakeBroker() {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    if (listener_ < 0 || ::bind(listener_, generic, size) != 0 || ::listen(listener_, 16) != 0 ||
        ::getsockname(listener_, generic, &size) != 0 || ::pipe(wakeup_) != 0) {
        throw std::runtime_error("the fake broker cannot listen");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
}

FakeBroker::~FakeBroker() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    const char byte = 0;
    if (::write(wakeup_[1], &byte, 1) == 1) thread_.join();
    ::close(listener_);
    ::close(wakeup_[0]);
    ::close(wakeup_[1]);
}

// ---- how it behaves ----

void FakeBroker::confirm_publishes(bool on) {
    const std::lock_guard lock(mutex_);
    confirming_ = on;
    if (!on) return;
    for (const auto& [first, last] : unconfirmed_) confirm(first, last, false);
    unconfirmed_.clear();
}

void FakeBroker::cut() {
    const std::lock_guard lock(mutex_);
    if (socket_ >= 0) ::shutdown(socket_, SHUT_RDWR);
}

void FakeBroker::refuse_connections() {
    const std::lock_guard lock(mutex_);
    accepting_ = false;
    if (socket_ >= 0) ::shutdown(socket_, SHUT_RDWR);
}

void FakeBroker::accept_connections() {
    const std::lock_guard lock(mutex_);
    accepting_ = true;
}

void FakeBroker::refuse(std::uint64_t sequence, wire::Code code, bool always) {
    const std::lock_guard lock(mutex_);
    refusals_[sequence] = {code, always};
}

void FakeBroker::cut_after_next_publish() {
    const std::lock_guard lock(mutex_);
    cut_after_publish_ = true;
}

void FakeBroker::forget_producers() {
    const std::lock_guard lock(mutex_);
    producers_.clear();
}

void FakeBroker::answer_with_error(wire::Verb verb, wire::Code code) {
    const std::lock_guard lock(mutex_);
    if (code == wire::Code::ok) {
        errors_.erase(verb);
    } else {
        errors_[verb] = code;
    }
}

void FakeBroker::set_frame_bytes_max(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    frame_bytes_max_ = bytes;
}

void FakeBroker::set_heartbeat_ms(std::uint64_t ms) {
    const std::lock_guard lock(mutex_);
    heartbeat_ms_ = ms;
}

void FakeBroker::send_raw(const std::vector<std::byte>& bytes) {
    const std::lock_guard lock(mutex_);
    send(bytes);
}

void FakeBroker::deliver(std::uint64_t subscription, std::uint64_t first_tag,
                         const std::vector<std::string>& payloads) {
    wire::Buffer out;
    const std::size_t mark = wire::begin_frame(out, wire::Verb::deliver, 8);
    wire::Encoder encoder(out);
    encoder.uint(subscription).uint(first_tag).uint(1000 + first_tag).uint(1).uint(5).uint(12345);
    encoder.array(static_cast<std::uint32_t>(payloads.size()));
    for (const std::string& payload : payloads) {
        wire::Message message;
        message.routing_key = "q";
        message.payload = payload;
        wire::write_message(encoder, message);
    }
    wire::end_frame(out, mark);
    const std::lock_guard lock(mutex_);
    send(out);
}

// ---- what it saw ----

std::vector<FakeBroker::Stored> FakeBroker::stored() const {
    const std::lock_guard lock(mutex_);
    return stored_;
}

std::vector<FakeBroker::Frame> FakeBroker::frames(wire::Verb verb) const {
    const std::lock_guard lock(mutex_);
    std::vector<Frame> found;
    for (const Frame& frame : frames_) {
        if (frame.verb == verb) found.push_back(frame);
    }
    return found;
}

std::uint64_t FakeBroker::connections() const {
    const std::lock_guard lock(mutex_);
    return connections_;
}

std::uint64_t FakeBroker::settled() const {
    const std::lock_guard lock(mutex_);
    return settled_;
}

bool FakeBroker::wait_until(const std::function<bool()>& true_now) const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!true_now()) {
        std::unique_lock lock(mutex_);
        if (std::chrono::steady_clock::now() > deadline) return false;
        // Most conditions change with a frame; those of the client itself are looked at again soon.
        changed_.wait_for(lock, std::chrono::milliseconds(5));
    }
    return true;
}

// ---- the network ----

void FakeBroker::run() {
    while (true) {
        pollfd waits[2] = {{listener_, POLLIN, 0}, {wakeup_[0], POLLIN, 0}};
        if (::poll(waits, 2, -1) < 0) continue;
        if (waits[1].revents != 0) return;
        const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (socket < 0) continue;
        {
            const std::lock_guard lock(mutex_);
            if (!accepting_) {
                ::close(socket);
                continue;
            }
            socket_ = socket;
            ++connections_;
            changed_.notify_all();
        }
        serve(socket);
        const std::lock_guard lock(mutex_);
        socket_ = -1;
        unconfirmed_.clear();
        ::close(socket);
    }
}

void FakeBroker::serve(int socket) {
    std::vector<std::byte> in;
    std::vector<std::byte> piece(65536);
    while (true) {
        pollfd waits[2] = {{socket, POLLIN, 0}, {wakeup_[0], POLLIN, 0}};
        if (::poll(waits, 2, -1) < 0) continue;
        if (waits[1].revents != 0) return;
        const ssize_t count = ::recv(socket, piece.data(), piece.size(), 0);
        if (count <= 0) return;
        in.insert(in.end(), piece.begin(), piece.begin() + count);
        std::size_t at = 0;
        while (true) {
            const auto slice = wire::next_frame(Bytes(in).subspan(at), 4U << 20);
            if (slice.state != wire::FrameSlice::State::complete) break;
            if (!handle(socket, slice.body)) return;
            at += slice.used;
        }
        in.erase(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(at));
    }
}

void FakeBroker::send(const wire::Buffer& bytes) {
    std::size_t at = 0;
    while (socket_ >= 0 && at < bytes.size()) {
        const ssize_t sent = ::send(socket_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
        if (sent <= 0) return;
        at += static_cast<std::size_t>(sent);
    }
}

// ---- the protocol ----

bool FakeBroker::handle(int, Bytes body) {
    const std::lock_guard lock(mutex_);
    wire::Cursor cursor(body);
    wire::FrameHead head;
    if (!wire::read_head(cursor, head)) return false;
    frames_.push_back({head.verb, head.request, {body.begin(), body.end()}});
    changed_.notify_all();
    const auto error = errors_.find(head.verb);
    if (error != errors_.end()) {
        answer_error(head.request, error->second);
        return true;
    }
    switch (head.verb) {
        case wire::Verb::hello:
            answer_hello(head.request);
            return true;
        case wire::Verb::producer:
            answer_producer(head.request, cursor);
            return true;
        case wire::Verb::publish:
            return handle_publish(head, cursor);
        case wire::Verb::transactions:
            return handle_transactions(head, cursor);
        case wire::Verb::hold:
            carry_out_late();
            return handle_hold(head, cursor);
        case wire::Verb::heartbeat:
            return true;
        case wire::Verb::ack:
        case wire::Verb::nack:
        case wire::Verb::extend:
            if (head.request != 0) {
                wire::Buffer out;
                const std::size_t mark = wire::begin_frame(out, wire::Verb::settled, 3);
                wire::Encoder(out).uint(head.request).array(0);
                wire::end_frame(out, mark);
                send(out);
            }
            return true;
        case wire::Verb::goodbye:
            answer_ok(head.request);
            return false;
        default:
            answer_ok(head.request);
            return true;
    }
}

void FakeBroker::answer_error(std::uint64_t request, wire::Code code) {
    wire::Buffer out;
    const std::size_t mark = wire::begin_frame(out, wire::Verb::error, 4);
    wire::Encoder(out).uint(request).uint(static_cast<std::uint64_t>(code)).str("told to");
    wire::end_frame(out, mark);
    send(out);
}

void FakeBroker::answer_ok(std::uint64_t request) {
    wire::Buffer out;
    const std::size_t mark = wire::begin_frame(out, wire::Verb::ok, 3);
    wire::Encoder(out)
        .uint(request)
        .map(3)
        .str("queue")
        .str("q")
        .str("messages")
        .uint(0)
        .str("ready")
        .uint(0);
    wire::end_frame(out, mark);
    send(out);
}

void FakeBroker::answer_hello(std::uint64_t request) {
    wire::Buffer out;
    const std::size_t mark = wire::begin_frame(out, wire::Verb::ok, 3);
    wire::Encoder encoder(out);
    encoder.uint(request).map(5).str("version").uint(1).str("server").str("fake");
    encoder.str("heartbeat_ms").uint(heartbeat_ms_);
    encoder.str("frame_bytes_max").uint(frame_bytes_max_);
    encoder.str("payload_bytes_max").uint(frame_bytes_max_ - 1024);
    wire::end_frame(out, mark);
    send(out);
}

void FakeBroker::answer_producer(std::uint64_t request, wire::Cursor& cursor) {
    std::string_view name;
    std::uint32_t options = 0;
    if (!cursor.read_str(name) || !cursor.read_map(options)) return;
    producer_ = name;
    Producer& producer = producers_[producer_];
    for (std::uint32_t i = 0; i < options; ++i) {
        std::string_view key;
        std::uint64_t epoch = 0;
        if (!cursor.read_str(key)) return;
        if (key != "epoch") {
            if (!cursor.skip()) return;
        } else if (cursor.read_uint(epoch) && epoch > producer.epoch) {
            producer = Producer{epoch, 0, {}};
        } else if (epoch < producer.epoch) {
            return answer_error(request, wire::Code::fenced);
        }
    }
    wire::Buffer out;
    const std::size_t mark = wire::begin_frame(out, wire::Verb::ok, 3);
    wire::Encoder encoder(out);
    encoder.uint(request).map(4).str("producer").uint(the_handle);
    encoder.str("epoch").uint(producer.epoch).str("mark").uint(producer.mark);
    encoder.str("open").array(static_cast<std::uint32_t>(producer.open.size() * 2));
    for (const std::uint64_t sequence : producer.open) encoder.uint(sequence).uint(sequence);
    wire::end_frame(out, mark);
    send(out);
}

bool FakeBroker::handle_hold(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::uint64_t handle = 0;
    std::uint32_t count = 0;
    if (!cursor.read_uint(handle) || !cursor.read_array(count)) return false;
    Producer& producer = producers_[producer_];
    for (std::uint32_t i = 0; i + 1 < count; i += 2) {
        std::uint64_t first = 0;
        std::uint64_t last = 0;
        if (!cursor.read_uint(first) || !cursor.read_uint(last)) return false;
        if (first != producer.mark + 1) {
            answer_error(head.request, wire::Code::sequence_gap);
            return true;
        }
        for (std::uint64_t sequence = first; sequence <= last; ++sequence)
            producer.open.insert(sequence);
        producer.mark = std::max(producer.mark, last);
    }
    answer_ok(head.request);
    return true;
}

bool FakeBroker::handle_publish(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::uint64_t handle = 0;
    std::uint64_t flags = 0;
    std::uint64_t settled = 0;
    std::uint32_t count = 0;
    if (!cursor.read_uint(handle) || handle != the_handle || !cursor.read_uint(flags) ||
        !cursor.read_uint(settled) || !cursor.read_array(count)) {
        return false;
    }
    settled_ = settled;
    Producer& producer = producers_[producer_];
    std::uint64_t sequence = head.request;
    const bool in_order = (flags & wire::publish_in_order) != 0;
    bool stopped = false;
    for (std::uint32_t i = 0; i < count; ++i, ++sequence) {
        wire::MessageView message;
        if (!wire::read_message(cursor, message)) return false;
        const bool open = producer.open.count(sequence) > 0;
        if (sequence > producer.mark + 1 || (stopped && (sequence > producer.mark || open))) {
            refused(sequence, wire::Code::sequence_gap);
            continue;
        }
        if (sequence <= producer.mark && !open) {
            confirm(sequence, sequence, true);
            continue;
        }
        const auto refusal = refusals_.find(sequence);
        if (refusal == refusals_.end() || !in_order) {
            producer.mark = std::max(producer.mark, sequence);
        }
        if (refusal != refusals_.end()) {
            stopped = in_order;
            if (!in_order) producer.open.insert(sequence);
            refused(sequence, refusal->second.first);
            if (!refusal->second.second) refusals_.erase(refusal);
            continue;
        }
        producer.open.erase(sequence);
        stored_.push_back(
            {producer_, producer.epoch, sequence, std::string(as_text(message.payload))});
        if (confirming_ && !cut_after_publish_) {
            confirm(sequence, sequence, false);
        } else {
            unconfirmed_.emplace_back(sequence, sequence);
        }
    }
    changed_.notify_all();
    return !std::exchange(cut_after_publish_, false);
}

void FakeBroker::confirm(std::uint64_t first, std::uint64_t last, bool duplicate) {
    wire::Buffer out;
    const std::size_t mark = wire::begin_frame(out, wire::Verb::confirm, 5);
    wire::Encoder(out).uint(first).uint(the_handle).uint(last).uint(duplicate ? 1 : 0);
    wire::end_frame(out, mark);
    send(out);
}

void FakeBroker::refused(std::uint64_t sequence, wire::Code code) {
    wire::Buffer out;
    const std::size_t mark = wire::begin_frame(out, wire::Verb::refused, 6);
    wire::Encoder encoder(out);
    encoder.uint(sequence).uint(the_handle).uint(sequence);
    encoder.uint(static_cast<std::uint64_t>(code)).str("as the test wants");
    wire::end_frame(out, mark);
    send(out);
}

}  // namespace ferry::test
