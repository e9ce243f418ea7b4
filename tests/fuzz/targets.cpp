#include "targets.hpp"

namespace ferry::fuzz {

std::span<const Target> targets() {
    static constexpr Target all[] = {
        {"frames", frames, 200},
        {"messages", messages, 200},
        {"session", session, 60},
        {"records", records, 200},
        {"recovery", recovery, 20},
        {"outbox_options", outbox_options, 400},
        {"outbox_row", outbox_row, 400},
        {"config", config, 100},
        {"rights", rights, 400},
        {"scram", scram, 100},
        {"users", users, 200},
        {"saga_definition", saga_definition, 100},
        {"saga_http", saga_http, 400},
        {"kafka_record", kafka_record, 400},
        {"cron", cron, 60},
        {"addresses", addresses, 400},
        {"history_file", history_file, 100},
    };
    return all;
}

}  // namespace ferry::fuzz
