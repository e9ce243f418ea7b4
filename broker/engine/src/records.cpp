#include "records.hpp"

#include "timer_list.hpp"

#include <algorithm>
#include <bit>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::engine {
namespace {
constexpr std::uint32_t message_bytes_min = 6;  // ["", "", nil, empty bin]
// A queue number is below it, so number and level are one small integer.
constexpr std::uint32_t level_step = 1U << 24;
static_assert(limits::queues_max < level_step);
// Bits of an extent's index and its `exact`, below its level.
constexpr unsigned index_bits = 18;  // and what goes with it: exact, and whether a key follows
static_assert(limits::messages_per_frame_max * 4 <= 1U << index_bits);
static_assert(limits::messages_per_frame_max <= Extent::count_max);
}  // namespace

namespace {
// Everything before the messages, or before a transaction's acks.
void put_publish_head(std::vector<std::byte>& out, RecordType type, const PublishRecord& record) {
    put_u8(out, static_cast<std::uint8_t>(type));
    put_u64(out, record.wall_ms);
    put_varint(out, record.producer);
    if (record.producer != 0) {
        put_varint(out, record.first);
        put_varint(out, record.sequences);
        put_varint(out, record.settled);
    }
    VarintWriter runs(out, 1 + 3 * record.runs.size() + record.targets.size());
    runs.put(record.runs.size());
    for (const Run& run : record.runs) {
        runs.put(run.count);
        runs.put(run.bytes);
        runs.put(run.targets_count);
        for (std::uint32_t i = 0; i < run.targets_count; ++i) {
            const Target& target = record.targets[run.targets_first + i];
            runs.put(std::uint64_t{target.queue} << 1 | (target.immediate ? 1U : 0U));
        }
    }
}
}  // namespace

void encode_publish_head(std::vector<std::byte>& out, PublishRecord& record) {
    const std::size_t begin = out.size();
    put_publish_head(out, RecordType::publish, record);
    record.messages_offset = static_cast<std::uint32_t>(out.size() - begin);
}

namespace {
RecordType type_of(const PublishRecord& record) {
    if (!record.schedule.empty()) return RecordType::schedule_fired;
    if (record.prepared.empty()) return RecordType::transaction;
    return record.next_check != 0 ? RecordType::prepared_check : RecordType::prepared_submit;
}

void put_run_times(std::vector<std::byte>& out, const std::vector<Run>& runs) {
    const auto timed = static_cast<std::size_t>(
        std::count_if(runs.begin(), runs.end(), [](const Run& run) { return run.timed(); }));
    VarintWriter times(out, 1 + 4 * timed);
    times.put(timed);
    for (std::size_t i = 0; timed > 0 && i < runs.size(); ++i) {
        if (!runs[i].timed()) continue;
        times.put(i);
        times.put(runs[i].deliver_at);
        times.put(runs[i].expires_at);
        times.put(runs[i].id_hash);
    }
}
}  // namespace

void encode_transaction_head(std::vector<std::byte>& out, PublishRecord& record) {
    const std::size_t begin = out.size();
    const bool scheduled = !record.schedule.empty();
    put_publish_head(out, type_of(record), record);
    put_varint(out, record.acks.size());
    for (const QueueSpans& group : record.acks) put_ack_group(out, group.queue, group.spans);
    put_varint(out, record.rejects.size());
    for (const QueueRejects& group : record.rejects) {
        put_varint(out, group.queue);
        put_varint(out, group.parts.size());
        Position end = 0;
        for (const auto& [extent, attempts] : group.parts) {
            put_varint(out, attempts);
            put_extent(out, extent, end);
            end = extent.end();
        }
    }
    put_run_times(out, record.runs);
    const auto weighty = static_cast<std::uint64_t>(std::count_if(
        record.runs.begin(), record.runs.end(), [](const Run& run) { return run.priority != 0; }));
    put_varint(out, weighty);
    for (std::size_t i = 0; i < record.runs.size(); ++i) {
        if (record.runs[i].priority == 0) continue;
        put_varint(out, i);
        put_u8(out, record.runs[i].priority);
    }
    if (scheduled) {
        put_text(out, record.schedule);
        put_varint(out, record.due_ms);
        put_varint(out, record.next_ms);
    }
    if (!record.prepared.empty()) {
        put_text(out, record.prepared);
        put_varint(out, record.steady_ms);
        if (record.next_check != 0) put_varint(out, record.next_check);
    }
    record.messages_offset = static_cast<std::uint32_t>(out.size() - begin);
}

namespace {
bool get_ack_groups(Reader& in, std::vector<QueueSpans>& out) {
    const std::size_t groups = in.count(2);
    for (std::size_t g = 0; g < groups && in.ok(); ++g) {
        QueueSpans group;
        const auto named = in.bounded<QueueId>(level_step * (limits::priority_max + 1ULL) - 1);
        group.queue = named % level_step;
        const auto level = static_cast<std::uint8_t>(named / level_step);
        const std::size_t spans = in.count(2);
        group.spans.reserve(spans);
        Position previous = 0;
        for (std::size_t i = 0; i < spans && in.ok(); ++i) {
            const std::uint64_t zigzag = in.varint();
            Span span;
            span.first = previous + ((zigzag >> 1) ^ (~(zigzag & 1U) + 1));
            span.count = in.bounded<std::uint32_t>(UINT32_MAX);
            span.level = level;
            previous = span.first + span.count;
            if (span.count == 0 || previous < span.first) return false;
            group.spans.push_back(span);
        }
        out.push_back(std::move(group));
    }
    return in.ok();
}

bool get_rejects(Reader& in, std::vector<QueueRejects>& out) {
    const std::size_t groups = in.count(2);
    for (std::size_t g = 0; g < groups && in.ok(); ++g) {
        QueueRejects group;
        group.queue = in.bounded<QueueId>(UINT32_MAX);
        const std::size_t parts = in.count(6);
        Position end = 0;
        for (std::size_t i = 0; i < parts && in.ok(); ++i) {
            const auto attempts = in.bounded<std::uint32_t>(UINT32_MAX - 1);
            const Extent extent = get_extent(in, end);
            if (!in.ok() || !plausible(extent)) return false;
            end = extent.end();
            group.parts.emplace_back(extent, attempts);
        }
        out.push_back(std::move(group));
    }
    return in.ok();
}

bool get_run_times(Reader& in, std::vector<Run>& runs) {
    const std::size_t count = in.count(4);
    std::size_t next = 0;
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        const std::uint64_t index = in.varint();
        if (index < next || index >= runs.size()) return false;
        Run& run = runs[index];
        run.deliver_at = in.varint();
        run.expires_at = in.varint();
        run.id_hash = in.varint();
        if (!run.timed() || run.deliver_at > TimerList::due_max) return false;
        next = index + 1;
    }
    return in.ok();
}

bool get_run_priorities(Reader& in, std::vector<Run>& runs) {
    const std::size_t count = in.count(2);
    std::size_t next = 0;
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        const std::uint64_t index = in.varint();
        const std::uint8_t priority = in.u8();
        if (index < next || index >= runs.size()) return false;
        if (priority == 0 || priority > limits::priority_max) return false;
        runs[index].priority = priority;
        next = index + 1;
    }
    return in.ok();
}
}  // namespace

bool decode_publish(Bytes body, PublishRecord& out) {
    out.clear();
    Reader in(body);
    const auto type = static_cast<RecordType>(in.u8());
    const bool scheduled = type == RecordType::schedule_fired;
    const bool check = type == RecordType::prepared_check;
    const bool prepared = check || type == RecordType::prepared_submit;
    if (type != RecordType::publish && type != RecordType::transaction && !scheduled && !prepared)
        return false;
    out.wall_ms = in.u64();
    out.producer = in.varint();
    if (out.producer != 0) {
        out.first = in.varint();
        out.sequences = in.varint();
        out.settled = in.varint();
        if (out.first == 0 || out.sequences == 0 ||
            out.sequences > limits::messages_per_frame_max ||
            out.first + out.sequences < out.first) {
            return false;
        }
    }
    const std::size_t runs = in.count(3);
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < runs && in.ok(); ++i) {
        Run run;
        run.count = in.bounded<std::uint32_t>(limits::messages_per_frame_max);
        run.bytes = in.bounded<std::uint32_t>(body.size());
        // Positions of one record must not reach into the next one's.
        if (run.count == 0 || run.bytes / message_bytes_min < run.count) return false;
        run.targets_first = static_cast<std::uint32_t>(out.targets.size());
        run.targets_count = static_cast<std::uint32_t>(in.count(1));
        for (std::uint32_t t = 0; t < run.targets_count; ++t) {
            const auto value = in.bounded<std::uint64_t>(0x1'ffff'ffffULL);
            const auto id = static_cast<QueueId>(value >> 1);
            if (t > 0 && out.targets.back().queue >= id) return false;
            out.targets.push_back({id, (value & 1U) != 0});
        }
        messages += run.count;
        bytes += run.bytes;
        out.runs.push_back(run);
    }
    if (type != RecordType::publish &&
        (!get_ack_groups(in, out.acks) || !get_rejects(in, out.rejects) ||
         !get_run_times(in, out.runs) || !get_run_priorities(in, out.runs))) {
        return false;
    }
    if (scheduled) {
        out.schedule = in.text();
        out.due_ms = in.varint();
        out.next_ms = in.varint();
        if (out.schedule.empty()) return false;
    }
    if (prepared) {
        out.prepared = in.text();
        out.steady_ms = in.varint();
        if (check) out.next_check = in.varint();
        if (out.prepared.empty() || check != (out.next_check != 0)) return false;
    }
    out.messages_offset = static_cast<std::uint32_t>(in.offset());
    return in.ok() && messages <= limits::messages_per_frame_max && bytes == in.remaining();
}

void begin_ack(std::vector<std::byte>& out, std::size_t groups) {
    put_u8(out, static_cast<std::uint8_t>(RecordType::ack));
    put_varint(out, groups);
}

void put_ack_group(std::vector<std::byte>& out, QueueId queue, std::span<const Span> spans) {
    const std::uint32_t level = spans.empty() ? 0 : spans.front().level;
    put_varint(out, queue + level * level_step);
    put_varint(out, spans.size());
    Position previous = 0;
    VarintWriter numbers(out, spans.size() * 2);
    for (const Span& span : spans) {
        // Acks come in any order: differences are signed (zigzag).
        const auto step = static_cast<std::int64_t>(span.first - previous);
        numbers.put((static_cast<std::uint64_t>(step) << 1) ^
                    static_cast<std::uint64_t>(step >> 63));
        numbers.put(span.count);
        previous = span.first + span.count;
    }
}

bool decode_ack(Bytes body, std::vector<QueueSpans>& out) {
    out.clear();
    Reader in(body);
    if (in.u8() != static_cast<std::uint8_t>(RecordType::ack)) return false;
    return get_ack_groups(in, out) && in.at_end();
}

namespace {
constexpr std::size_t extent_numbers_max = 6;

template <class Put>
void put_numbers_of(const Extent& e, Position base, Put&& put) {
    const auto step = static_cast<std::int64_t>(e.first - base);
    put((static_cast<std::uint64_t>(step) << 1) ^ static_cast<std::uint64_t>(step >> 63));
    put(e.count);
    const KeyNumber key = e.key;
    put(std::uint64_t{e.level} << index_bits | std::uint64_t{e.index} << 2 | (key != 0 ? 2U : 0U) |
        (e.exact ? 1U : 0U));
    if (key != 0) put(key);
    put(e.offset());
    put(e.bytes);
}
}  // namespace

void put_extent(std::vector<std::byte>& out, const Extent& e, Position base) {
    put_numbers_of(e, base, [&](std::uint64_t number) { put_varint(out, number); });
}

bool plausible(const Extent& e) {
    return e.count > 0 && e.index <= e.first && e.end() > e.first &&
           std::uint32_t{e.index} + e.count <= limits::messages_per_frame_max;
}

Extent get_extent(Reader& in, Position base) {
    Extent e;
    const std::uint64_t zigzag = in.varint();
    e.first = base + ((zigzag >> 1) ^ (~(zigzag & 1U) + 1));
    e.set_count(in.bounded<std::uint32_t>(limits::messages_per_frame_max));
    const auto index = in.bounded<std::uint32_t>(((limits::priority_max + 1ULL) << index_bits) - 1);
    e.level = static_cast<std::uint8_t>(index >> index_bits) & 0xfU;
    e.index = static_cast<std::uint16_t>((index & ((1U << index_bits) - 1)) >> 2);
    e.exact = (index & 1U) != 0;
    if ((index & 2U) != 0) e.key = in.bounded<KeyNumber>(UINT32_MAX);
    e.set_offset(in.bounded<std::uint32_t>(Extent::offset_max));
    e.bytes = in.bounded<std::uint32_t>(UINT32_MAX);
    return e;
}

void encode_extents(std::vector<std::byte>& out, RecordType type, QueueId queue,
                    std::span<const Extent> extents) {
    put_u8(out, static_cast<std::uint8_t>(type));
    put_varint(out, queue);
    put_varint(out, extents.size());
    Position previous = 0;
    VarintWriter numbers(out, extents.size() * extent_numbers_max);
    for (const Extent& e : extents) {
        put_numbers_of(e, previous, [&](std::uint64_t number) { numbers.put(number); });
        previous = e.end();
    }
}

bool decode_extents(Bytes body, RecordType type, QueueId& queue, std::vector<Extent>& out) {
    out.clear();
    Reader in(body);
    if (in.u8() != static_cast<std::uint8_t>(type)) return false;
    queue = in.bounded<QueueId>(UINT32_MAX);
    const std::size_t count = in.count(5);
    out.reserve(count);
    Position previous = 0;
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        out.push_back(get_extent(in, previous));
        if (!plausible(out.back())) return false;
        previous = out.back().end();
    }
    return in.ok() && in.at_end();
}

void put_arguments(std::vector<std::byte>& out, const Arguments& arguments) {
    put_varint(out, arguments.size());
    for (const auto& [name, value] : arguments) {
        put_text(out, name);
        put_u8(out, static_cast<std::uint8_t>(value.index()));
        if (const auto* flag = std::get_if<bool>(&value)) put_u8(out, *flag ? 1 : 0);
        if (const auto* number = std::get_if<std::int64_t>(&value)) {
            put_u64(out, static_cast<std::uint64_t>(*number));
        }
        if (const auto* real = std::get_if<double>(&value))
            put_u64(out, std::bit_cast<std::uint64_t>(*real));
        if (const auto* text = std::get_if<std::string>(&value)) put_text(out, *text);
    }
}

Arguments get_arguments(Reader& in) {
    Arguments arguments;
    const std::size_t count = in.count(2);
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        std::string name(in.text());
        Argument value;
        switch (in.u8()) {
            case 0:
                break;
            case 1:
                value = in.u8() != 0;
                break;
            case 2:
                value = static_cast<std::int64_t>(in.u64());
                break;
            case 3:
                value = std::bit_cast<double>(in.u64());
                break;
            case 4:
                value = std::string(in.text());
                break;
            default:
                in.reject();
                break;
        }
        arguments.emplace_back(std::move(name), std::move(value));
    }
    return arguments;
}

void put_binding(std::vector<std::byte>& out, const Binding& binding) {
    put_text(out, binding.source);
    put_text(out, binding.destination);
    put_u8(out, binding.to_exchange ? 1 : 0);
    put_text(out, binding.key);
    put_arguments(out, binding.arguments);
}

Binding get_binding(Reader& in) {
    Binding binding;
    binding.source = in.text();
    binding.destination = in.text();
    binding.to_exchange = in.u8() != 0;
    binding.key = in.text();
    binding.arguments = get_arguments(in);
    return binding;
}

void put_ranges(std::vector<std::byte>& out, std::span<const Range<Sequence>> ranges) {
    put_varint(out, ranges.size());
    for (const auto& range : ranges) {
        put_varint(out, range.first);
        put_varint(out, range.last - range.first);
    }
}

std::vector<Range<Sequence>> get_ranges(Reader& in) {
    std::vector<Range<Sequence>> ranges;
    const std::size_t count = in.count(2);
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        const Sequence first = in.varint();
        const std::uint64_t more = in.varint();
        if (first == 0 || more >= UINT64_MAX - first) in.reject();
        ranges.push_back({first, first + more});
    }
    return ranges;
}

Extent inner_part_of(const Extent& extent, std::uint32_t skip, std::uint32_t count) {
    FERRY_ASSERT(count > 0 && skip + count <= extent.count, "a part lies inside its extent");
    Extent part;
    part.first = extent.first + skip;
    part.set_count(count);
    part.key = extent.key;
    part.index = static_cast<std::uint16_t>(extent.index + skip);
    part.set_offset(skip == 0 ? extent.offset() : 0);
    part.exact = false;
    part.level = extent.level;
    // Shares add up to the whole: what the left parts took is what the right parts do not have.
    const std::uint64_t before = std::uint64_t{extent.bytes} * skip / extent.count;
    const std::uint64_t upto = std::uint64_t{extent.bytes} * (skip + count) / extent.count;
    part.bytes = static_cast<std::uint32_t>(upto - before);
    return part;
}

}  // namespace ferry::engine
