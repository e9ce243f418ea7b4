#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ferry/wire/codes.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/encoder.hpp"
#include "ferry/wire/frame.hpp"
#include "ferry/wire/message.hpp"

namespace ferry::test {

/// As much of a broker as a client can be tested against: one thread, blocking sockets, one
/// connection at a time. It remembers what it was sent and misbehaves when told to.
class FakeBroker {
public:
    FakeBroker();
    ~FakeBroker();
    FakeBroker(const FakeBroker&) = delete;
    FakeBroker& operator=(const FakeBroker&) = delete;

    [[nodiscard]] std::string url() const { return "ferry://127.0.0.1:" + std::to_string(port_); }

    // ---- how it behaves; any thread ----
    void confirm_publishes(bool on);
    /// Ends the current connection.
    void cut();
    /// New connections are ended at once until accept_connections().
    void refuse_connections();
    void accept_connections();
    /// This sequence is refused once (or always).
    void refuse(std::uint64_t sequence, wire::Code code, bool always = false);
    /// The next PUBLISH is stored, and then the connection ends instead of a confirm.
    void cut_after_next_publish();
    void forget_producers();
    /// What becomes of the next transactions, one after another; then they are carried out.
    enum class Fate : std::uint8_t {
        commit,
        refuse,      // with NO_ROUTE
        cut_before,  // the connection ends, and nothing of it was read
        cut_after,   // carried out, and the connection ends instead of an answer
        late,        // the connection ends; the transaction arrives when the next HOLD does
        silent,      // not read, and no answer: as if it were still on its way
    };
    void next_transactions(std::deque<Fate> fates);
    void answer_with_error(wire::Verb verb, wire::Code code);
    void set_frame_bytes_max(std::uint64_t bytes);
    void set_heartbeat_ms(std::uint64_t ms);
    /// Sends these bytes as they are.
    void send_raw(const std::vector<std::byte>& bytes);
    void deliver(std::uint64_t subscription, std::uint64_t first_tag,
                 const std::vector<std::string>& payloads);

    // ---- what it saw; any thread ----
    struct Stored {
        std::string producer;
        std::uint64_t epoch = 0;
        std::uint64_t sequence = 0;
        std::string payload;
    };
    struct Frame {
        wire::Verb verb{};
        std::uint64_t request = 0;
        std::vector<std::byte> body;
    };
    [[nodiscard]] std::vector<Stored> stored() const;
    [[nodiscard]] std::vector<Frame> frames(wire::Verb verb) const;
    [[nodiscard]] std::uint64_t connections() const;
    [[nodiscard]] std::uint64_t settled() const;
    /// Waits, up to 20 seconds, until `true_now` (called with the lock held by none) holds.
    bool wait_until(const std::function<bool()>& true_now) const;

private:
    struct Producer {
        std::uint64_t epoch = 1;
        std::uint64_t mark = 0;
        std::set<std::uint64_t> open;
    };

    void run();
    void serve(int socket);
    bool handle(int socket, Bytes body);
    void answer_hello(std::uint64_t request);
    void answer_producer(std::uint64_t request, wire::Cursor& cursor);
    bool handle_hold(const wire::FrameHead& head, wire::Cursor& cursor);
    bool handle_publish(const wire::FrameHead& head, wire::Cursor& cursor);
    bool handle_transactions(const wire::FrameHead& head, wire::Cursor& cursor);
    void carry_out_late();
    struct Transaction {
        std::string producer;
        std::uint64_t sequence = 0;
        std::vector<std::string> payloads;
    };
    bool read_transactions(const wire::FrameHead& head, wire::Cursor& cursor,
                           std::vector<Transaction>& out) const;
    bool handle_transaction(Transaction& transaction);
    void carry_out(const Transaction& transaction);
    void confirm(std::uint64_t first, std::uint64_t last, bool duplicate);
    void refused(std::uint64_t sequence, wire::Code code);
    void answer_ok(std::uint64_t request);
    void answer_error(std::uint64_t request, wire::Code code);
    void send(const wire::Buffer& bytes);

    int listener_ = -1;
    int wakeup_[2] = {-1, -1};
    std::uint16_t port_ = 0;

    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    bool stop_ = false;
    bool accepting_ = true;
    bool confirming_ = true;
    bool cut_after_publish_ = false;
    int socket_ = -1;
    std::uint64_t connections_ = 0;
    std::uint64_t settled_ = 0;
    std::uint64_t frame_bytes_max_ = 1U << 20;
    std::uint64_t heartbeat_ms_ = 10000;
    std::map<std::uint64_t, std::pair<wire::Code, bool>> refusals_;
    std::map<wire::Verb, wire::Code> errors_;
    std::map<std::string, Producer> producers_;
    std::string producer_;  // of this connection
    std::vector<Stored> stored_;
    std::deque<Fate> fates_;
    std::vector<Transaction> late_;
    std::vector<Frame> frames_;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> unconfirmed_;
    std::thread thread_;
};

}  // namespace ferry::test
