#include "operator.hpp"

namespace ferry::simulation {

using history::Event;
using history::Type;
using history::What;

class Operator::PurgeTap final : public Tap {
public:
    PurgeTap(Recorder& recorder, std::uint32_t process) : recorder_(recorder), process_(process) {}

    void asked(std::uint64_t request, std::uint32_t queue) {
        requests_[request] = queue;
        note(queue, Type::invoke);
    }
    void said(Bytes frames) override {
        each_frame(frames, [&](const wire::FrameHead& head, wire::Cursor&) {
            const bool ok = head.verb == wire::Verb::ok;
            const auto at = requests_.find(head.request);
            if (at == requests_.end() || (!ok && head.verb != wire::Verb::error)) return true;
            note(at->second, ok ? Type::ok : Type::fail);
            requests_.erase(at);
            return true;
        });
    }
    void session_over() override {
        for (const auto& entry : requests_) note(entry.second, Type::info);
        requests_.clear();
    }

private:
    void note(std::uint32_t queue, Type type) {
        Event event;
        event.process = process_;
        event.type = type;
        event.what = What::purge;
        event.queue = queue;
        recorder_.add(event);
    }
    Recorder& recorder_;
    const std::uint32_t process_;
    std::map<std::uint64_t, std::uint32_t> requests_;
};

std::shared_ptr<Tap> Operator::make_tap() {
    tap_ = std::make_shared<PurgeTap>(stage_.recorder, process_);
    return tap_;
}

void Operator::purge(std::uint32_t queue) {
    if (phase_ != Phase::ready) return;
    world_.trace("purge", queue);
    const std::uint64_t request = next_request();
    tap_->asked(request, queue);
    ask(wire::Verb::queue_purge, request, 1, [&](wire::Encoder& e) { e.str(queue_name(queue)); });
}

}  // namespace ferry::simulation
