#include "metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <set>
#include <tuple>

namespace ferry::saga {
namespace {

const prometheus::Histogram::BucketBoundaries step_buckets{
    0.001, 0.003, 0.005, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 1000, 10'000, 100'000};
constexpr std::uint32_t steps_named_max = 100;

}  // namespace

struct Metrics::Impl {
    using Labels = std::map<std::string, std::string>;
    using Key = std::tuple<Tally::What, std::int64_t, std::uint32_t>;  // definition, step

    Labels labels(const Stored& stored) {
        const Definition& d = stored.definition;
        if (known.size() < definitions_max || known.contains(stored.key)) {
            known.insert(stored.key);
            return {{"saga", d.name}, {"version", std::to_string(d.version)}};
        }
        return {{"saga", "_other"}, {"version", "_other"}};
    }
    void count(const char* name, const char* help, const Labels& with) {
        prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(with).Increment();
    }
    void gauge(const char* name, const char* help, const Labels& with, double value) {
        prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(with).Set(value);
    }
    void total(const char* name, const char* help, std::uint64_t value) {
        auto& counter = prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
        const double missing = static_cast<double>(value) - counter.Value();
        if (missing > 0) counter.Increment(missing);
    }
    void add(const Tally::Entry& entry) {
        using What = Tally::What;
        switch (entry.what) {
            case What::started:
                ++figures.started;
                return count(entry, "ferry_saga_started_total", "Sagas started.");
            case What::completed:
                ++figures.completed;
                return count(entry, "ferry_saga_completed_total", "Sagas completed.");
            case What::compensated:
                ++figures.compensated;
                return count(entry, "ferry_saga_compensated_total", "Sagas that were undone.");
            case What::parked:
                ++figures.parked;
                return count(entry, "ferry_saga_parked_total",
                             "Sagas that came to wait for an operator.");
            case What::resent:
                ++figures.resent;
                return count(entry, "ferry_saga_resent_total",
                             "Commands and compensations sent again.");
            case What::step_done:
                return series_of(
                           entry, histograms,
                           [&](const Labels& with) {
                               return &prometheus::BuildHistogram()
                                           .Name("ferry_saga_step_seconds")
                                           .Help("From a step's first command to its success.")
                                           .Register(registry)
                                           .Add(with, step_buckets);
                           })
                    ->Observe(entry.seconds);
            case What::ignored:
                ++figures.ignored;
                return;
            case What::unknown:
                ++figures.unknown;
                return;
        }
    }
    void count(const Tally::Entry& entry, const char* name, const char* help) {
        series_of(entry, counters, [&](const Labels& with) {
            return &prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(with);
        })->Increment();
    }
    /// Looked up in the registry once: by labels that takes longer than the rest of a step.
    template <class Series, class Make>
    Series* series_of(const Tally::Entry& entry, std::map<Key, Series*>& kept, const Make& make) {
        const Key key{entry.what, entry.stored->key, entry.step};
        const auto found = kept.find(key);
        if (found != kept.end()) return found->second;
        Labels with = labels(*entry.stored);
        if (entry.what == Tally::What::resent || entry.what == Tally::What::step_done) {
            with["step"] = step(entry, with);
        }
        Series* const made = make(with);
        // As many as there are labels, and no more.
        if (known.contains(entry.stored->key) && entry.step < steps_named_max) kept[key] = made;
        return made;
    }
    static std::string step(const Tally::Entry& entry, const Labels& with) {
        if (with.at("saga") == "_other" || entry.step >= steps_named_max) return "_other";
        return entry.stored->definition.steps[entry.step].name;
    }

    mutable std::mutex mutex;
    prometheus::Registry registry{prometheus::Registry::InsertBehavior::Merge};
    std::set<std::int64_t> known;
    std::map<Key, prometheus::Counter*> counters;
    std::map<Key, prometheus::Histogram*> histograms;
    SagaFigures figures;
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

void Metrics::add(const Tally& tally) {
    const std::scoped_lock lock(impl_->mutex);
    for (const Tally::Entry& entry : tally.entries) impl_->add(entry);
}
void Metrics::timers(std::uint64_t due) {
    const std::scoped_lock lock(impl_->mutex);
    impl_->figures.timers += due;
}
void Metrics::transaction() {
    const std::scoped_lock lock(impl_->mutex);
    ++impl_->figures.transactions;
}
void Metrics::lease_lost() {
    const std::scoped_lock lock(impl_->mutex);
    ++impl_->figures.lease_losses;
}
void Metrics::member(bool yes) {
    const std::scoped_lock lock(impl_->mutex);
    impl_->figures.member = yes;
}

void Metrics::http_call(const char* outcome, double seconds) {
    const std::scoped_lock lock(impl_->mutex);
    impl_->count("ferry_saga_http_calls_total", "HTTP calls with an answer, or without one.",
                 {{"outcome", outcome}});
    prometheus::BuildHistogram()
        .Name("ferry_saga_http_seconds")
        .Help("Time of an HTTP call.")
        .Register(impl_->registry)
        .Add({}, step_buckets)
        .Observe(seconds);
}
void Metrics::http_under_way(std::size_t calls) {
    const std::scoped_lock lock(impl_->mutex);
    impl_->gauge("ferry_saga_http_under_way", "HTTP calls under way or not recorded yet.", {},
                 static_cast<double>(calls));
}

SagaFigures Metrics::figures() const {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->figures;
}

std::string Metrics::render(const std::map<std::string, std::uint64_t>& open) const {
    const std::scoped_lock lock(impl_->mutex);
    Impl& m = *impl_;
    for (const auto& [state, sagas] : open) {
        m.gauge("ferry_saga_open", "Sagas that have not ended, by state.", {{"state", state}},
                static_cast<double>(sagas));
    }
    m.gauge("ferry_saga_member", "1: this orchestrator holds a lease.", {},
            m.figures.member ? 1 : 0);
    m.total("ferry_saga_ignored_total", "Repeated and late answers.", m.figures.ignored);
    m.total("ferry_saga_unknown_total", "Answers for sagas that are not there.", m.figures.unknown);
    m.total("ferry_saga_timers_due_total", "Sagas looked at because something was due.",
            m.figures.timers);
    m.total("ferry_saga_lease_losses_total", "Leases lost to the clock.", m.figures.lease_losses);
    return prometheus::TextSerializer().Serialize(m.registry.Collect());
}

}  // namespace ferry::saga
