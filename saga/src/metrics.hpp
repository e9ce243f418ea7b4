#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "ferry/saga/orchestrator.hpp"
#include "runner.hpp"

namespace ferry::saga {

/// Threads   any.
class Metrics {
public:
    /// Definitions with series of their own; later ones are counted together as "_other".
    static constexpr std::size_t definitions_max = 100;

    Metrics();
    ~Metrics();
    void add(const Tally& tally);
    void timers(std::uint64_t due);
    void transaction();
    void lease_lost();
    void member(bool yes);
    void http_call(const char* outcome, double seconds);
    void http_under_way(std::size_t calls);
    [[nodiscard]] SagaFigures figures() const;
    [[nodiscard]] std::string render(const std::map<std::string, std::uint64_t>& open) const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::saga
