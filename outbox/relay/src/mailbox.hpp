#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "ferry/transport/sequenced.hpp"
#include "waker.hpp"

namespace ferry::outbox::relay {

/// Answers on their way from the publisher's thread to the relay's.
class Mailbox final : public transport::SequencedEvents {
public:
    struct Answer {
        transport::SequenceRange sequences;
        transport::Outcome::Kind kind = transport::Outcome::Kind::confirmed;
        wire::Code code = wire::Code::ok;
        std::string text;
    };
    struct Content {
        std::vector<Answer> answers;
        bool lost = false;
        transport::ClientError why;
    };

    explicit Mailbox(Waker& waker) : waker_(waker) {}

    void on_answered(transport::SequenceRange sequences,
                     const transport::Outcome& outcome) override {
        bool first = false;
        {
            const std::lock_guard lock(mutex_);
            first = content_.answers.empty();
            Answer* const before = first ? nullptr : &content_.answers.back();
            if (outcome.ok() && before != nullptr && before->kind == outcome.kind &&
                before->sequences.last + 1 == sequences.first) {
                before->sequences.last = sequences.last;
            } else {
                content_.answers.push_back(
                    {sequences, outcome.kind, outcome.code, std::string(outcome.text)});
            }
        }
        if (first) waker_.signal();
    }
    void on_lost(const transport::ClientError& why) override {
        {
            const std::lock_guard lock(mutex_);
            content_.lost = true;
            content_.why = why;
        }
        waker_.signal();
    }
    /// Swaps what came into `out`, whose memory is used again.
    void take(Content& out) {
        out.answers.clear();
        out.lost = false;
        const std::lock_guard lock(mutex_);
        std::swap(out, content_);
    }

private:
    Waker& waker_;
    std::mutex mutex_;
    Content content_;
};

}  // namespace ferry::outbox::relay
