#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ferry/transport/client.hpp"
#include "output.hpp"

namespace ferry::cli {

/// What a broker is made of besides its messages, as `ferry definitions` writes and reads it.
/// Exclusive queues are not in it, nor policies of the broker's own configuration file.
struct Definitions {
    struct Queue {
        std::string name;
        transport::QueueOptions options;
    };
    struct Exchange {
        std::string name;
        std::string type;
        transport::ExchangeOptions options;
    };
    struct Policy {
        std::string name;
        transport::PolicyOptions options;
    };
    struct Schedule {
        std::string name;
        transport::ScheduleOptions options;
    };
    std::vector<Exchange> exchanges;
    std::vector<Queue> queues;
    std::vector<transport::Binding> bindings;
    std::vector<Policy> policies;
    std::vector<Schedule> schedules;
};

[[nodiscard]] Json to_json(const Definitions::Exchange& exchange);
[[nodiscard]] Json to_json(const Definitions::Queue& queue);
[[nodiscard]] Json to_json(const transport::Binding& binding);
[[nodiscard]] Json to_json(const Definitions::Policy& policy);
[[nodiscard]] Json to_json(const Definitions::Schedule& schedule);
[[nodiscard]] Json to_json(const Definitions& definitions);

/// Reads text that may be anything. True: all of it was understood; unknown keys, wrong types, bad
/// names and things that come twice are refused. Otherwise `wrong` names the place and what is
/// allowed there. Ranges of settings are the broker's to check.
[[nodiscard]] bool parse_definitions(std::string_view text, Definitions& out, std::string& wrong);

/// Settings as the broker shows them. Unknown ones are left out.
[[nodiscard]] transport::QueuePolicy settings_from(const wire::Headers& settings);

}  // namespace ferry::cli
