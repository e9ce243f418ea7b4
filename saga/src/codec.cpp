#include "codec.hpp"

#include <limits>

#include "ferry/platform/bytes.hpp"

// A version byte, then numbers as LEB128 and texts with their length. Steps behind the last one
// that has begun are only counted.

namespace ferry::saga {
namespace {

constexpr char version = 1;

class Writer {
public:
    explicit Writer(std::string& out) : out_(out) {}
    void number(std::uint64_t value) {
        for (; value >= 0x80; value >>= 7U) out_ += static_cast<char>(value | 0x80U);
        out_ += static_cast<char>(value);
    }
    void text(std::string_view value) {
        number(value.size());
        out_ += value;
    }

private:
    std::string& out_;
};

class Reader {
public:
    explicit Reader(Bytes bytes) : bytes_(bytes) {}
    std::uint64_t number(std::uint64_t most = std::numeric_limits<std::uint64_t>::max()) {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            if (at_ >= bytes_.size()) break;
            const auto byte = static_cast<std::uint64_t>(bytes_[at_++]);
            value |= (byte & 0x7fU) << shift;
            if (byte < 0x80) {
                if (value > most) ok_ = false;
                return ok_ ? value : 0;
            }
        }
        ok_ = false;
        return 0;
    }
    std::uint32_t small() {
        return static_cast<std::uint32_t>(number(std::numeric_limits<std::uint32_t>::max()));
    }
    std::string text() {
        const std::uint64_t size = number();
        if (!ok_ || size > bytes_.size() - at_) {
            ok_ = false;
            return {};
        }
        std::string out(as_text(bytes_.subspan(at_, size)));
        at_ += size;
        return out;
    }
    [[nodiscard]] bool ok() const { return ok_; }
    [[nodiscard]] bool at_end() const { return ok_ && at_ == bytes_.size(); }

private:
    Bytes bytes_;
    std::size_t at_ = 0;
    bool ok_ = true;
};

bool untouched(const StepRecord& step) {
    return step.state == StepState::waiting && step.attempts == 0 && step.due_ms == 0;
}

void write_step(Writer& out, const StepRecord& step) {
    out.number(static_cast<std::uint64_t>(step.state) << 1U | (step.uncertain ? 1U : 0U));
    if (untouched(step)) return;
    out.number(step.attempt);
    out.number(step.attempts);
    out.number(step.due_ms);
    out.number(step.began_ms);
    out.number(step.ended_ms);
    out.number(step.undo_ms);
    out.text(step.result);
    out.text(step.error);
}

StepRecord read_step(Reader& in) {
    StepRecord step;
    const std::uint64_t state = in.number((detail::step_states << 1U) - 1);
    step.state = static_cast<StepState>(state >> 1U);
    step.uncertain = (state & 1U) != 0;
    if (step.state == StepState::waiting) return step;
    step.attempt = in.small();
    step.attempts = in.small();
    step.due_ms = in.number();
    step.began_ms = in.number();
    step.ended_ms = in.number();
    step.undo_ms = in.number();
    step.result = in.text();
    step.error = in.text();
    return step;
}

}  // namespace

void encode_body(const Instance& instance, std::string& out) {
    out.assign(1, version);
    Writer writer(out);
    writer.number(instance.deadline_ms);
    writer.number((instance.overdue ? 1U : 0U) | (instance.forced ? 2U : 0U));
    writer.text(instance.input);
    writer.text(instance.reason);
    writer.text(instance.result);
    writer.text(instance.trace);
    writer.number(instance.parent_step);
    writer.number(instance.depth);
    std::size_t begun = instance.steps.size();
    while (begun > 0 && untouched(instance.steps[begun - 1])) --begun;
    writer.number(instance.steps.size());
    writer.number(begun);
    for (std::size_t i = 0; i < begun; ++i) write_step(writer, instance.steps[i]);
    writer.number(instance.signals.size());
    for (const auto& [name, payload] : instance.signals) {
        writer.text(name);
        writer.text(payload);
    }
}

bool decode_body(Bytes bytes, Instance& into) {
    if (bytes.empty() || static_cast<char>(bytes[0]) != version) return false;
    Reader in(bytes.subspan(1));
    into.deadline_ms = in.number();
    const std::uint64_t flags = in.number(3);
    into.overdue = (flags & 1U) != 0;
    into.forced = (flags & 2U) != 0;
    into.input = in.text();
    into.reason = in.text();
    into.result = in.text();
    into.trace = in.text();
    into.parent_step = in.small();
    into.depth = in.small();
    const std::uint64_t steps = in.number(limits::steps_max);
    const std::uint64_t begun = in.number(steps);
    if (!in.ok()) return false;
    into.steps.assign(steps, {});
    for (std::uint64_t i = 0; i < begun && in.ok(); ++i) into.steps[i] = read_step(in);
    const std::uint64_t signals = in.number(limits::steps_max);
    into.signals.clear();
    for (std::uint64_t i = 0; i < signals && in.ok(); ++i) {
        std::string name = in.text();
        into.signals[std::move(name)] = in.text();
    }
    return in.at_end();
}

}  // namespace ferry::saga
