#include "world.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace ferry::simulation {

World::World(std::uint64_t seed) : random(seed) {}

bool World::later(const Event& x, const Event& y) {
    if (x.at != y.at) return x.at > y.at;
    if (x.tie != y.tie) return x.tie > y.tie;
    return x.number > y.number;
}

void World::after(std::uint64_t ns, const Life& life, std::function<void()> what) {
    heap_.push_back({now_ns_ + ns, random.next(), next_number_++, life.token(), std::move(what)});
    std::push_heap(heap_.begin(), heap_.end(), later);
}

bool World::step(std::uint64_t until_ns) {
    while (!heap_.empty() && heap_.front().at <= until_ns) {
        std::pop_heap(heap_.begin(), heap_.end(), later);
        const Event event = std::move(heap_.back());
        heap_.pop_back();
        if (event.life.expired()) continue;
        now_ns_ = std::max(now_ns_, event.at);
        ++events_;
        event.what();
        return true;
    }
    now_ns_ = std::max(now_ns_, until_ns);
    return false;
}

std::uint64_t World::spread(std::uint64_t least, std::uint64_t most) {
    std::uint64_t doublings = 0;
    while (doublings < 63 && (std::max<std::uint64_t>(least, 1) << doublings) < most) ++doublings;
    const std::uint64_t low = std::max<std::uint64_t>(least, 1) << below(doublings + 1);
    return std::clamp(low + below(low), least, most);
}

void World::trace(const char* what, std::uint64_t a, std::uint64_t b, std::uint64_t c) {
    for (const char* at = what; *at != '\0'; ++at)
        hash_ = mix(hash_, static_cast<unsigned char>(*at));
    hash_ = mix(mix(mix(mix(hash_, now_ns_), a), b), c);
    lines_[line_count_++ % trace_kept] = {now_ns_, what, a, b, c};
    if (talkative)
        say("", std::string(what) + " " + std::to_string(a) + " " + std::to_string(b) + " " +
                    std::to_string(c));
}

void World::say(std::string_view who, std::string_view line) const {
    if (!talkative) return;
    std::fprintf(stderr, "  %13.6f s  %.*s: %.*s\n", static_cast<double>(now_ns_) / 1e9,
                 static_cast<int>(who.size()), who.data(), static_cast<int>(line.size()),
                 line.data());
}

std::string World::last_events() const {
    std::string out;
    const std::uint64_t first = line_count_ > trace_kept ? line_count_ - trace_kept : 0;
    for (std::uint64_t i = first; i < line_count_; ++i) {
        const Line& line = lines_[i % trace_kept];
        char text[160];
        std::snprintf(
            text, sizeof text, "  %13.6f s  %-28s %llu %llu %llu\n",
            static_cast<double>(line.at) / 1e9, line.what, static_cast<unsigned long long>(line.a),
            static_cast<unsigned long long>(line.b), static_cast<unsigned long long>(line.c));
        out += text;
    }
    return out;
}

void World::fail(std::string why) {
    if (failure_.empty()) failure_ = std::move(why);
}

}  // namespace ferry::simulation
